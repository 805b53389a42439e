"""The load note, which MLflow writes into a local store when it loads a models:/ URI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from samples.artifacts import local_path

from modelworks.errors import Corrupt
from modelworks.project import Project
from modelworks.registry.backend.mlflow_internals import LOAD_NOTE
from modelworks.registry.packaging import integrity
from modelworks.registry.production import promotion
from modelworks.registry.verification import verify_version
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.verification.isolated_process import IsolatedModel


def load_by_address(client: MlflowClient, address: str) -> None:
    """Load a version as in the README."""
    import mlflow.pyfunc

    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        mlflow.pyfunc.load_model(address)
    finally:
        mlflow.set_tracking_uri(None)


def stored_package(client: MlflowClient, version: int = 1) -> Path:
    return local_path(client.get_model_version("small", str(version)).source)


def test_version_with_a_load_note_is_fetched_and_promoted(
    client: MlflowClient, project: Project, register: Callable[..., Any], isolated_model: IsolatedModel
) -> None:
    register()
    client.set_registered_model_alias("small", "mine", "1")
    load_by_address(client, "models:/small@mine")
    assert (stored_package(client) / LOAD_NOTE).is_file(), "MLflow does not write it any more: this file can be deleted"

    folder = verify_version.package_folder(client, project, "small", 1)
    assert not (folder / LOAD_NOTE).exists()
    move = promotion.promote(
        client,
        project,
        "small",
        1,
        expected=0,
        reason="a test",
        who="a test",
        evidence={},
        proof=lambda _, version: verify_version.prove(client, version, isolated_model),
    )
    assert move is not None
    assert (stored_package(client) / LOAD_NOTE).is_file(), "the stored note must not be deleted"


def test_version_loaded_by_model_id_is_fetched(
    client: MlflowClient, project: Project, register: Callable[..., Any]
) -> None:
    register()
    load_by_address(client, f"models:/{stored_package(client).parent.name}")
    assert "null" in (stored_package(client) / LOAD_NOTE).read_text()
    assert verify_version.package_folder(client, project, "small", 1).is_dir()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"model_name: small\nmodel_version: 1\n",
        b"model_name: null\nmodel_version: null\n",
        "model_name: Größe (v2)\nmodel_version: '12'\n".encode(),
        b"model_name: a name of so many words that the YAML writer breaks the line and writes\n  it to the disk\nmodel_version: 3\n",
    ],
)
def test_load_note_is_deleted_from_a_fetched_package(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOAD_NOTE).write_bytes(content)
    integrity.remove_load_note(tmp_path)
    assert list(tmp_path.iterdir()) == []
    integrity.remove_load_note(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95",
        b"import os\n",
        b"- model_name\n- model_version\n",
        b"model_name: small\n",
        b"model_name: small\nmodel_version: 1\nmore: 1\n",
        b"model_name: [small]\nmodel_version: 1\n",
        b"model_name: !!python/name:os.system\nmodel_version: 1\n",
        b"model_name: small\nmodel_version: 1\n" + b"#" * 2**14,
    ],
)
def test_other_content_of_a_load_note_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOAD_NOTE).write_bytes(content)
    with pytest.raises(Corrupt, match="registered_model_meta") as caught:
        integrity.remove_load_note(tmp_path)
    assert caught.value.code == "package.damaged"


def test_link_or_pipe_as_a_load_note_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("model_name: small\nmodel_version: 1\n")
    for make in (lambda path: path.symlink_to(tmp_path / "elsewhere"), os.mkfifo):
        make(tmp_path / LOAD_NOTE)
        with pytest.raises(Corrupt):
            integrity.remove_load_note(tmp_path)
        (tmp_path / LOAD_NOTE).unlink()


def test_local_copy_with_a_load_note_is_fetched_again(
    client: MlflowClient, project: Project, register: Callable[..., Any]
) -> None:
    register()
    folder = verify_version.package_folder(client, project, "small", queries.get(client, "small", 1).version)
    (folder / LOAD_NOTE).write_text("model_name: small\nmodel_version: 1\n")
    assert not (verify_version.package_folder(client, project, "small", 1) / LOAD_NOTE).exists()

"""The file that MLflow writes into a local store whenever it loads a version by a models:/ address."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelworks.errors import Corrupt
from modelworks.project import Project
from modelworks.registry.packaging import integrity
from modelworks.registry.production import promotion
from modelworks.registry.verification import verify_version
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.verification.isolated_process import IsolatedModel


def load_by_address(client: MlflowClient, address: str) -> None:
    """As the README says to load a version."""
    import mlflow.pyfunc

    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        mlflow.pyfunc.load_model(address)
    finally:
        mlflow.set_tracking_uri(None)


def stored_package(client: MlflowClient, version: int = 1) -> Path:
    return Path(str(client.get_model_version("small", str(version)).source).removeprefix("file://"))


def test_a_version_that_mlflow_loaded_in_place_can_be_fetched_proven_and_promoted(
    client: MlflowClient, project: Project, register: Callable[..., Any], witness: IsolatedModel
) -> None:
    register()
    client.set_registered_model_alias("small", "mine", "1")
    load_by_address(client, "models:/small@mine")
    assert (stored_package(client) / integrity.LOAD_NOTE).is_file(), "MLflow writes it no more: this file can go"

    folder = verify_version.package_folder(client, project, "small", 1)
    assert not (folder / integrity.LOAD_NOTE).exists()
    move = promotion.promote(
        client,
        project,
        "small",
        1,
        expected=0,
        reason="a test",
        who="a test",
        evidence={},
        proof=lambda _, version: verify_version.prove(client, version, witness),
    )
    assert move is not None
    assert (stored_package(client) / integrity.LOAD_NOTE).is_file(), "what MLflow wrote is left to MLflow"


def test_a_version_loaded_by_the_id_of_its_model_can_be_fetched(
    client: MlflowClient, project: Project, register: Callable[..., Any]
) -> None:
    register()
    load_by_address(client, f"models:/{stored_package(client).parent.name}")
    assert "null" in (stored_package(client) / integrity.LOAD_NOTE).read_text()
    assert verify_version.package_folder(client, project, "small", 1).is_dir()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"model_name: small\nmodel_version: 1\n",
        b"model_name: null\nmodel_version: null\n",
        "model_name: Größe (v2)\nmodel_version: '12'\n".encode(),
        b"model_name: a name of so many words that the line is broken by the one who writes\n  it to the disk\nmodel_version: 3\n",
    ],
)
def test_what_mlflow_writes_is_deleted_from_a_fetched_package(tmp_path: Path, content: bytes) -> None:
    (tmp_path / integrity.LOAD_NOTE).write_bytes(content)
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
def test_anything_else_under_that_name_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / integrity.LOAD_NOTE).write_bytes(content)
    with pytest.raises(Corrupt, match="registered_model_meta is not the file that MLflow writes"):
        integrity.remove_load_note(tmp_path)


def test_a_link_or_a_pipe_under_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("model_name: small\nmodel_version: 1\n")
    for make in (lambda path: path.symlink_to(tmp_path / "elsewhere"), os.mkfifo):
        make(tmp_path / integrity.LOAD_NOTE)
        with pytest.raises(Corrupt):
            integrity.remove_load_note(tmp_path)
        (tmp_path / integrity.LOAD_NOTE).unlink()


def test_a_kept_copy_that_holds_such_a_file_is_fetched_again(
    client: MlflowClient, project: Project, register: Callable[..., Any]
) -> None:
    register()
    folder = verify_version.package_folder(client, project, "small", queries.get(client, "small", 1).version)
    (folder / integrity.LOAD_NOTE).write_text("model_name: small\nmodel_version: 1\n")
    assert not (verify_version.package_folder(client, project, "small", 1) / integrity.LOAD_NOTE).exists()

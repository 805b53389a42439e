"""A version's record is stored completely, and rejected when any part has changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from samples.artifacts import local_path
from samples.makings import PROVENANCE

from modelworks.errors import BadInput, Corrupt
from modelworks.project import Project
from modelworks.provenance import Code, Provenance
from modelworks.records import Evaluation, ModelVersion
from modelworks.registry.versions import lineage_graph, provenance_record, queries, registration
from modelworks.registry.versions.references import named
from modelworks.registry.versions.training_row_index import trained_on

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

PATCH = "diff --git a/x b/x\n# h\udce9llo\n"
"""With a byte that is not UTF-8."""
PATCHED = dataclasses.replace(PROVENANCE, code=Code(commit="c" * 40, folder="", patch=PATCH, missing=""))


@pytest.fixture
def make(
    client: MlflowClient, project: Project, evaluate: Callable[..., Evaluation], begin: Callable[[], str]
) -> Callable[..., Registered]:
    """Register a model and return the registered version."""

    def make(provenance: Provenance = PATCHED, seed: int = 0, name: str = "small") -> Registered:
        version = registration.register(
            client, project, evaluate(seed), provenance=provenance, name=name, key=f"{name}-{seed}", run_id=begin()
        )
        return queries.get(client, name, version.version)

    return make


def folder_of(client: MlflowClient, version: Registered) -> Path:
    """Return the folder of the record's files."""
    return local_path(client.get_run(version.run_id).info.artifact_uri) / provenance_record.FOLDER


def test_record_is_read_back(client: MlflowClient, make: Callable[..., Registered], tmp_path: Path) -> None:
    version = make()
    assert version.tags["modelworks.git_commit"] == f"{'c' * 40} with changes"
    found = provenance_record.read_all(client, version, tmp_path)
    assert found.provenance == PATCHED
    assert found.evaluation["trained"]["report"]["dataset"]["name"] == "image"
    assert (tmp_path / "predictions.parquet").is_file()
    shown = provenance_record.read(client, version).provenance
    assert len(shown.code.patch) == 64  # the digest: the patch was not fetched
    assert dataclasses.replace(shown, code=PATCHED.code) == PATCHED


def test_record_outside_git_has_no_commit(client: MlflowClient, make: Callable[..., Registered]) -> None:
    version = make(PROVENANCE)
    assert "modelworks.git_commit" not in version.tags
    assert "not in a git repository" in provenance_record.read(client, version).provenance.code.missing


@pytest.mark.parametrize("name", ["record.json", "code.patch", "training_ids.npy", "predictions.parquet"])
def test_changed_file_of_the_record_is_corrupt(
    client: MlflowClient, make: Callable[..., Registered], tmp_path: Path, name: str
) -> None:
    version = make()
    path = folder_of(client, version) / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=name) as caught:
        provenance_record.read_all(client, version, tmp_path)
    assert caught.value.code == "version.record-damaged"


def test_missing_file_of_the_record_is_corrupt(
    client: MlflowClient, make: Callable[..., Registered], tmp_path: Path
) -> None:
    version = make()
    (folder_of(client, version) / "code.patch").unlink()
    with pytest.raises(Corrupt, match=r"code\.patch") as caught:
        provenance_record.read_all(client, version, tmp_path)
    assert caught.value.code == "version.record-unavailable"


def test_version_not_registered_by_modelworks_has_no_record(client: MlflowClient) -> None:
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source="file:///nowhere")
    with pytest.raises(BadInput) as caught:
        provenance_record.read(client, queries.get(client, "foreign", 1))
    assert caught.value.code == "version.no-record"


def test_version_references(client: MlflowClient, register: Callable[..., ModelVersion]) -> None:
    register(0)
    register(1)
    client.set_registered_model_alias("small", "production", "1")
    client.set_registered_model_alias("small", "tried", "2")
    assert [
        named(client, text, number).version
        for text, number in (
            ("small", None),
            ("small@tried", None),
            ("small/2", None),
            ("small", 2),
            ("models:/small/1", None),
        )
    ] == [1, 2, 2, 2, 1]
    for text, number in (
        ("small@none", None),
        ("small/9", None),
        ("small@tried", 1),
        ("other", None),
        ("small/x", None),
    ):
        with pytest.raises(BadInput):
            named(client, text, number)


def test_row_is_found_by_id_prefix_in_versions_of_every_model(
    client: MlflowClient, project: Project, make: Callable[..., Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelworks.models import serialization

    ids = {0: [0x01, 0xFFFFFFFFFFFFFFFF], 1: [0x8000000000000001, 0x80FF000000000000], 2: [0xFFFFFFFFFFFFFFFF]}
    save = serialization.save
    for seed, held in ids.items():
        monkeypatch.setattr(
            serialization,
            "save",
            lambda *given, held=held, **named: save(*given, **{**named, "training_ids": np.array(held, np.uint64)}),
        )
        make(seed=seed, name="small" if seed < 2 else "other")
    client.set_registered_model_alias("other", "production", "1")

    found = trained_on(client, project, "f" * 64)
    assert [(each.model, each.version, each.production) for each in found.holders] == [
        ("other", 1, True),
        ("small", 1, False),
    ]
    assert (found.ids, found.asked) == (("f" * 16,), 3)
    assert trained_on(client, project, "80").ids == ("8000000000000001", "80ff000000000000")
    assert trained_on(client, project, "0000000000000001" + "0" * 48).holders[0].version == 1
    assert trained_on(client, project, "7").holders == ()


def test_graph_escapes_mermaid_syntax(client: MlflowClient, make: Callable[..., Registered]) -> None:
    version = make()
    steps = lineage_graph.provenance_steps(provenance_record.read(client, version).evaluation, PATCHED)
    odd = dataclasses.replace(steps[0], facts=('a "quoted" <b>',))
    page = lineage_graph.page([odd, *steps[1:]])
    assert "a #34;quoted#34; #60;b#62;" in page
    assert page.count("-->") == 4


def test_record_is_json_without_local_paths(
    client: MlflowClient, project: Project, make: Callable[..., Registered]
) -> None:
    text = (folder_of(client, make()) / "record.json").read_text()
    assert json.loads(text)["files"].keys() == {"code.patch", "training_ids.npy", "predictions.parquet"}
    assert str(project.root) not in text

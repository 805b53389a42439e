"""Promotions and rollbacks: production moves once, to a verified version."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from registry.production.promotion_types import Promote, Register
from samples.artifacts import local_path

from modelworks.errors import BadInput, Corrupt, Refused
from modelworks.files.digest import file_digest
from modelworks.registry.packaging import build, integrity
from modelworks.registry.production import audit_log, promotion
from modelworks.registry.tracking import tags
from modelworks.registry.verification import golden_predictions, verify_version
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project


def folder_of(client: MlflowClient, version: int) -> Path:
    """Return the folder of a version's package in the artifact store."""
    return local_path(client.get_model_version_download_uri("small", str(version)))


def test_promotion_verifies_moves_and_logs(client: MlflowClient, project: Project, register: Register) -> None:
    version = register()
    # With its own isolated process, as on the command line.
    returned = promotion.promote(
        client, project, "small", 1, expected=0, reason="first", who="ann", evidence={"f1": 0.9}
    )
    assert queries.production(client, "small") == 1
    (move,) = audit_log.history(client, "small")
    assert move == returned
    assert (move.number, move.kind, move.before, move.after, move.who, move.why, move.verdict, move.state) == (
        *(1, "promote", 0, 1, "ann", "first", "promote", "done"),
    )
    assert not move.overridden
    assert move.lock == "flock, among the processes of this machine"
    assert move.evidence["f1"] == 0.9
    assert move.evidence["digest"] == version.digest
    assert move.evidence["probe_rows"] == golden_predictions.ROWS
    assert move.evidence["largest_difference"] <= golden_predictions.TOLERANCE
    run = client.get_run(move.id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "small/production"


def test_promoting_the_production_version_changes_nothing(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register()
    assert promote(1) is not None
    assert promote(1) is promote(1, expected=0) is None
    assert len(audit_log.history(client, "small")) == 1


def test_production_that_changed_meanwhile_is_not_overwritten(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    for seed in range(3):
        register(seed)
    promote(1, expected=0)
    promote(2, expected=1, who="bob", reason="better")
    mover = "expected version 1, found version 2, .* by bob at 20..-..-.. ..:..:.. UTC: promote, better"
    with pytest.raises(Refused, match=mover) as caught:
        promote(3, expected=1)
    assert caught.value.code == "production.changed"
    assert queries.production(client, "small") == 2


def test_alias_moved_during_verification_is_not_overwritten(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    for seed in range(3):
        register(seed)
    promote(1)

    def meanwhile(*_: Any) -> dict[str, Any]:
        client.set_registered_model_alias("small", "production", "3")
        return {}

    with pytest.raises(Refused, match="expected version 1, found version 3") as caught:
        promote(2, proof=meanwhile)
    assert caught.value.code == "production.changed"
    assert queries.production(client, "small") == 3
    assert audit_log.history(client, "small")[0].state == "abandoned"


def test_version_with_other_libraries_requires_override(
    client: MlflowClient, register: Register, promote: Promote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_requirements", lambda _saved: ["numpy==1.0.0", "mlflow==9.9", "no-such-thing==1"])
    register()
    installed = importlib.metadata.version("numpy")
    with pytest.raises(Refused, match=r"numpy 1\.0\.0 was logged") as caught:
        promote(1)
    assert caught.value.code == "version.other-libraries"
    assert f"{installed} is installed" in caught.value.message
    assert "no-such-thing 1 was logged, none is installed" in caught.value.message
    assert promote(1, override=True, reason="urgent") is not None
    move = audit_log.history(client, "small")[0]
    assert move.overridden
    assert len(move.evidence["other_libraries"]) == 3


def test_rejected_version_requires_override_with_a_reason(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register(decision="inconclusive")
    with pytest.raises(Refused, match="inconclusive") as refused:
        promote(1)
    assert refused.value.code == "production.not-accepted"
    with pytest.raises(BadInput) as without_reason:
        promote(1, override=True, reason=" ")
    assert without_reason.value.code == "arguments.reason"
    promote(1, override=True, reason="the shop cannot wait")
    (move,) = audit_log.history(client, "small")
    assert move.overridden
    assert move.verdict == "inconclusive"
    assert move.why == "the shop cannot wait"


def test_version_without_a_verdict_is_refused(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    client.delete_model_version_tag("small", "1", tags.DECISION)
    with pytest.raises(Refused) as caught:
        promote(1)
    assert caught.value.code == "production.not-accepted"


@pytest.mark.parametrize("file", ["artifacts/model/model.safetensors", "serving.py", "MLmodel", "requirements.txt"])
def test_flipped_byte_stops_a_promotion(client: MlflowClient, register: Register, promote: Promote, file: str) -> None:
    register(0)
    register(1)
    promote(1)
    path = folder_of(client, 2) / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Corrupt, match=file) as caught:
        promote(2)
    assert caught.value.code == "package.damaged"
    assert queries.production(client, "small") == 1
    newest, _ = audit_log.history(client, "small")
    assert newest.state == "abandoned"
    assert file in client.get_run(newest.id).data.tags["modelworks.move.because"]


def test_missing_package_stops_a_promotion(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    folder = folder_of(client, 1)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(Corrupt, match="MLmodel") as caught:
        promote(1)
    assert caught.value.code == "package.damaged"
    assert queries.production(client, "small") == 0


def test_model_with_other_predictions_is_refused(client: MlflowClient, register: Register, promote: Promote) -> None:
    version = register()
    artifacts = local_path(client.get_run(version.run_id).info.artifact_uri)
    path = artifacts / integrity.EVIDENCE / golden_predictions.FILE
    rows = pq.read_table(path)
    swapped = [row[::-1] for row in rows["probabilities"].to_pylist()]
    field = rows.schema.field("probabilities")
    place = rows.column_names.index("probabilities")
    pq.write_table(rows.set_column(place, field, pa.array(swapped, field.type)), path)
    with pytest.raises(Corrupt, match=golden_predictions.FILE) as corrupt:
        promote(1)
    assert corrupt.value.code == "package.damaged"
    # With a matching tag the digests are equal, but the predictions still differ.
    client.set_model_version_tag("small", "1", tags.GOLDEN, file_digest(path))
    with pytest.raises(Refused) as refused:
        promote(1)
    assert refused.value.code == "version.other-predictions"


def test_version_not_registered_by_modelworks_is_refused(client: MlflowClient, promote: Promote) -> None:
    client.create_registered_model("small")
    client.create_model_version("small", "file:///nowhere")
    with pytest.raises(Refused) as caught:
        promote(1, override=True, reason="try")
    assert caught.value.code == "version.not-ours"


def test_unknown_version_is_bad_input(register: Register, promote: Promote) -> None:
    with pytest.raises(BadInput) as caught:
        promote(1)
    assert caught.value.code == "model.unknown"
    register()
    with pytest.raises(BadInput) as caught:
        promote(2)
    assert caught.value.code == "version.unknown"


def test_each_rollback_goes_back_one_version_until_the_first(
    client: MlflowClient, register: Register, promote: Promote, rollback: Callable[[], int]
) -> None:
    for seed in range(3):
        register(seed)
        promote(seed + 1)
    assert rollback() == 2
    assert rollback() == 1
    with pytest.raises(Refused) as caught:
        rollback()
    assert caught.value.code == "production.nothing-before"
    assert queries.production(client, "small") == 1
    moves = audit_log.history(client, "small")
    assert [(move.kind, move.before, move.after) for move in moves] == [
        ("rollback", 2, 1),
        ("rollback", 3, 2),
        ("promote", 2, 3),
        ("promote", 1, 2),
        ("promote", 0, 1),
    ]


def test_saved_model_is_fetched_once_and_again_when_damaged(
    client: MlflowClient, project: Project, register: Register
) -> None:
    version = register()
    folder = verify_version.model_folder(client, project, "small", 1)
    original = (version.evaluation.trained.model_folder / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == original
    inode = (folder / "model.json").stat().st_ino
    assert verify_version.model_folder(client, project, "small", 1) == folder
    assert (folder / "model.json").stat().st_ino == inode
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert verify_version.model_folder(client, project, "small", 1) == folder
    assert (folder / "model.safetensors").read_bytes() == original

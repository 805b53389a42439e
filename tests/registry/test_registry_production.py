from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples.artifacts import local_path

from modelworks.errors import BadInput, Corrupt, Refused, Unavailable
from modelworks.files.digest import file_digest
from modelworks.records import ModelVersion
from modelworks.registry.packaging import build, integrity
from modelworks.registry.production import alias_drift, audit_log, promotion
from modelworks.registry.tracking import tags
from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.verification import golden_predictions, verify_version
from modelworks.registry.verification.verify_version import prove
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.registry.verification.isolated_process import IsolatedModel

Register = Callable[..., ModelVersion]
Promote = Callable[..., "audit_log.Move | None"]


@pytest.fixture
def promote(client: MlflowClient, project: Project, isolated_model: IsolatedModel) -> Promote:
    """Promote with default arguments."""

    def call(version: int, expected: int | None = None, **named: Any) -> int:
        given: dict[str, Any] = {"reason": "the gate's verdict", "who": "a test", "evidence": {"why": 1}} | named
        proof = partial(prove, process=isolated_model, other_libraries=given.get("override", False))
        return promotion.promote(client, project, "small", version, expected=expected, **{"proof": proof, **given})

    return call


@pytest.fixture
def rollback(client: MlflowClient, project: Project, isolated_model: IsolatedModel) -> Callable[[], int]:
    """Roll back and return the production version."""

    def call() -> int:
        proof = partial(prove, process=isolated_model)
        promotion.rollback(client, project, "small", reason="worse in the shop", who="a test", proof=proof)
        return queries.production(client, "small")

    return call


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


def test_audit_log_returns_production_at_a_time(client: MlflowClient, register: Register, promote: Promote) -> None:
    register(0)
    register(1)
    before = datetime.now(UTC) - timedelta(seconds=1)
    promote(1)
    promote(2)
    newest, oldest = audit_log.history(client, "small")
    assert audit_log.at(client, "small", before) is None
    assert audit_log.at(client, "small", oldest.when) == oldest
    assert audit_log.at(client, "small", newest.when) == newest
    assert audit_log.at(client, "another", newest.when) is None


def test_rollback_requires_a_production_version_in_the_audit_log(
    client: MlflowClient, register: Register, rollback: Callable[[], int]
) -> None:
    with pytest.raises(BadInput) as unknown:
        rollback()
    assert unknown.value.code == "model.unknown"
    register()
    with pytest.raises(Refused) as caught:
        rollback()
    assert caught.value.code == "production.none"
    client.set_registered_model_alias("small", "production", "1")
    with pytest.raises(Refused) as caught:
        rollback()
    assert caught.value.code == "production.moved-elsewhere"


@pytest.mark.parametrize(("alias_moved", "state"), [(True, "done"), (False, "abandoned")])
def test_intent_of_a_killed_promotion_is_completed_or_abandoned(
    client: MlflowClient, project: Project, register: Register, promote: Promote, alias_moved: bool, state: str
) -> None:
    register(0)
    register(1)
    promote(1)
    killed = intend(client, 1, 2)
    if alias_moved:
        client.set_registered_model_alias("small", "production", "2")
    assert promotion.settle(client, project, "small") == (), "the process is alive"
    assert alias_drift.find_alias_drift(client, "small") is None, "an unfinished move is no drift"
    die(client, killed)
    assert [move.id for move in promotion.settle(client, project, "small")] == [killed]
    newest = audit_log.history(client, "small")[0]
    assert (newest.id, newest.state) == (killed, state)
    assert queries.production(client, "small") == (2 if alias_moved else 1)
    assert promotion.settle(client, project, "small") == ()


@pytest.mark.parametrize("host", ["", "another"])
def test_next_lock_holder_completes_the_move_of_a_killed_one(
    client: MlflowClient, register: Register, promote: Promote, host: str
) -> None:
    for seed in range(3):
        register(seed)
    promote(1)

    def meanwhile(*_: Any) -> dict[str, Any]:
        killed = intend(client, 1, 3)
        client.set_registered_model_alias("small", "production", "3")
        die(client, killed, host)
        return {}

    with pytest.raises(Refused, match=r"found version 3, .* by a test at") as caught:
        promote(2, proof=meanwhile)
    assert caught.value.code == "production.changed"
    refused, killed, _ = sorted(audit_log.history(client, "small"), key=lambda move: move.state)
    assert (refused.state, killed.state, killed.number) == ("abandoned", "done", 2)


def test_intent_of_another_machine_is_not_changed(
    client: MlflowClient, project: Project, register: Register, promote: Promote
) -> None:
    register(0)
    register(1)
    promote(1)
    die(client, intend(client, 1, 2), "another")
    assert promotion.settle(client, project, "small") == ()
    assert [move.state for move in audit_log.unfinished(client, "small")] == ["intent"]


def test_rollback_killed_after_the_move_is_not_repeated(
    client: MlflowClient, register: Register, promote: Promote, rollback: Callable[[], int]
) -> None:
    for seed in range(3):
        register(seed)
        promote(seed + 1)
    killed = intend(client, 3, 2, kind="rollback")
    client.set_registered_model_alias("small", "production", "2")
    die(client, killed)
    assert rollback() == 2
    newest, *_ = audit_log.history(client, "small")
    assert (newest.id, newest.kind, newest.state) == (killed, "rollback", "done")
    assert rollback() == 1


def test_alias_drift_is_reported_and_adopted_or_restored(
    client: MlflowClient, register: Register, promote: Promote, rollback: Callable[[], int]
) -> None:
    for seed in range(3):
        register(seed)
    assert alias_drift.all_alias_drift(client) == []
    promote(1)
    promote(2)
    assert alias_drift.all_alias_drift(client) == []
    client.set_registered_model_alias("small", "production", "3")
    (drift,) = alias_drift.all_alias_drift(client)
    assert (drift.name, drift.left, drift.found) == ("small", 2, 3)
    assert "production of small is version 3" in drift.message
    with pytest.raises(Refused) as caught:
        rollback()
    assert caught.value.code == "production.moved-elsewhere"

    adopted = promote(3)
    assert adopted is not None
    assert (adopted.number, adopted.kind, adopted.before, adopted.after) == (3, "adopt", 2, 3)
    assert alias_drift.find_alias_drift(client, "small") is None
    assert rollback() == 2

    client.set_registered_model_alias("small", "production", "1")
    restored = promote(2)
    assert restored is not None
    assert (restored.kind, restored.before, restored.after) == ("promote", 1, 2)
    assert alias_drift.find_alias_drift(client, "small") is None
    assert rollback() == 1

    client.delete_registered_model_alias("small", "production")
    drift = alias_drift.find_alias_drift(client, "small")
    assert drift is not None
    assert "production of small is none" in drift.message
    assert drift.hint == "modelworks promote small 1 --reason TEXT restores it"


def test_rejected_version_is_not_adopted(client: MlflowClient, register: Register, promote: Promote) -> None:
    register(decision="reject")
    client.set_registered_model_alias("small", "production", "1")
    with pytest.raises(Refused, match="reject") as caught:
        promote(1)
    assert caught.value.code == "production.not-accepted"


def test_clock_set_back_does_not_change_the_order_of_moves(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register(0)
    register(1)
    promote(1)
    (first,) = audit_log.history(client, "small")
    tomorrow = first.when + timedelta(days=1)
    client.set_tag(first.id, "modelworks.move.when", tomorrow.isoformat())
    promote(2)
    newest, oldest = audit_log.history(client, "small")
    assert (newest.number, newest.after, oldest.after) == (2, 2, 1)
    assert newest.when == oldest.when == tomorrow
    assert audit_log.at(client, "small", tomorrow) == newest


def test_evidence_too_long_for_a_tag_is_truncated(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    promote(1, evidence={"verdict": ["passed: " + "x" * 100] * 200, "text": "y" * 9000})
    (move,) = audit_log.history(client, "small")
    assert move.evidence["verdict"][-1] == "and more"
    assert "text" not in move.evidence
    assert "digest" in move.evidence


def test_other_runs_in_the_audit_log_experiment_are_ignored(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register()
    promote(1)
    client.create_run(client.get_experiment_by_name("small/production").experiment_id)
    assert len(audit_log.history(client, "small")) == 1


def intend(client: MlflowClient, before: int, after: int, kind: audit_log.Kind = "promote") -> str:
    """Log the intent of a move."""
    chosen = queries.Registered(name="small", version=after, tags={tags.DECISION: "promote"})
    intent = audit_log.Intent(
        kind=kind, before=before, expected=before, who="a test", why="w", overridden=False, evidence={"a": 1}
    )
    return audit_log.intend(client, chosen, intent, "")


def die(client: MlflowClient, move: str, host: str = "") -> None:
    """Replace the owner of an intent by a dead process, or by one of another host."""
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        owner = Owner(host=host or Owner.this().host, pid=dead.pid, started=0, boot=Owner.this().boot)
    for name, value in owner.written().items():
        client.set_tag(move, f"modelworks.process.{name}", value)


PROMOTED_AT_ONCE = """
import json, os, sys
from functools import partial
from pathlib import Path

import mlflow

from modelworks.errors import Refused
from modelworks.project import Project
from modelworks.registry.production import promotion
from modelworks.registry.backend import tracking_store
from modelworks.registry.verification.verify_version import prove
from modelworks.registry.verification.isolated_process import IsolatedModel

project = Project(Path(sys.argv[1]))
ready, go = os.pipe(), os.pipe()
children = []
for version in (2, 3):
    child = os.fork()
    if not child:
        client = tracking_store.connect(project)
        with IsolatedModel() as isolated_model:
            os.write(ready[1], b".")
            os.read(go[0], 1)
            try:
                named = {"expected": 1, "reason": "r", "who": "w", "evidence": {}, "proof": partial(prove, process=isolated_model)}
                promotion.promote(client, project, "small", version, **named)
            except Refused as error:
                os._exit(3 if error.code == "production.changed" else 1)
        os._exit(0)
    children.append(child)
os.read(ready[0], 1), os.read(ready[0], 1)
os.write(go[1], b"..")
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


@pytest.mark.slow
def test_exactly_one_of_two_concurrent_promotions_succeeds(
    client: MlflowClient, project: Project, register: Register, promote: Promote
) -> None:
    for seed in range(3):
        register(seed)
    promote(1)
    out = subprocess.run(
        [sys.executable, "-c", PROMOTED_AT_ONCE, str(project.root)],
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
    ).stdout
    codes = json.loads(out)
    assert sorted(codes) == [0, 3]
    winner = 2 + codes.index(0)
    assert queries.production(client, "small") == winner
    done = [move for move in audit_log.history(client, "small") if move.state == "done"]
    assert [(move.before, move.after) for move in done] == [(1, winner), (0, 1)]


class ExpiredLease:
    """A lock that is lost in the block, so that another holder gets it, as an expired lease."""

    kind = "a lease"

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.meanwhile = meanwhile

    @contextmanager
    def hold(self, name: str, purpose: str) -> Iterator[None]:
        yield
        self.meanwhile()
        raise Unavailable(f"the lock {name} was lost while {purpose}")


def test_done_move_is_kept_when_its_lock_was_lost(
    client: MlflowClient, register: Register, promote: Promote, rollback: Callable[[], int]
) -> None:
    for seed in range(2):
        register(seed)
    with pytest.raises(Unavailable, match="was lost"):
        promote(1, lock=ExpiredLease(lambda: promote(2)))
    moves = [(move.before, move.after, move.state) for move in audit_log.history(client, "small")]
    assert moves == [(1, 2, "done"), (0, 1, "done")]
    assert rollback() == 1


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

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
def promote(client: MlflowClient, project: Project, witness: IsolatedModel) -> Promote:
    """Promote with everything that a test does not care about filled in."""

    def call(version: int, expected: int | None = None, **named: Any) -> int:
        given: dict[str, Any] = {"reason": "the gate's verdict", "who": "a test", "evidence": {"why": 1}} | named
        proof = partial(prove, witness=witness, other_libraries=given.get("override", False))
        return promotion.promote(client, project, "small", version, expected=expected, **{"proof": proof, **given})

    return call


@pytest.fixture
def rollback(client: MlflowClient, project: Project, witness: IsolatedModel) -> Callable[[], int]:
    """Roll back; returns what is production then."""

    def call() -> int:
        proof = partial(prove, witness=witness)
        promotion.rollback(client, project, "small", reason="worse in the shop", who="a test", proof=proof)
        return queries.production(client, "small")

    return call


def folder_of(client: MlflowClient, version: int) -> Path:
    """Where the artifact store keeps the package of a version."""
    return Path(client.get_model_version_download_uri("small", str(version)).removeprefix("file://"))


def test_a_promotion_proves_moves_and_writes_it_down(
    client: MlflowClient, project: Project, register: Register
) -> None:
    version = register()
    # With a fresh process of its own, as a person's promotion has.
    made = promotion.promote(client, project, "small", 1, expected=0, reason="first", who="ann", evidence={"f1": 0.9})
    assert queries.production(client, "small") == 1
    (move,) = audit_log.history(client, "small")
    assert move == made
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


def test_promoting_what_is_production_already_changes_nothing(
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
    said = "expected version 1, found version 2, moved there by bob at 20..-..-.. ..:..:.. UTC: promote, better"
    with pytest.raises(Refused, match=said):
        promote(3, expected=1)
    assert queries.production(client, "small") == 2


def test_what_moves_while_the_model_is_proven_is_not_overwritten(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    for seed in range(3):
        register(seed)
    promote(1)

    def meanwhile(*_: Any) -> dict[str, Any]:
        client.set_registered_model_alias("small", "production", "3")
        return {}

    said = "expected version 1, found version 3, moved there by something outside the journal"
    with pytest.raises(Refused, match=said):
        promote(2, proof=meanwhile)
    assert queries.production(client, "small") == 3
    assert audit_log.history(client, "small")[0].state == "abandoned"


def test_a_version_of_other_libraries_is_only_promoted_by_override(
    client: MlflowClient, register: Register, promote: Promote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_requirements", lambda _saved: ["numpy==1.0.0", "mlflow==9.9", "no-such-thing==1"])
    register()
    installed = importlib.metadata.version("numpy")
    with pytest.raises(Refused, match=r"evaluated with other libraries: .*numpy 1\.0\.0 was logged") as caught:
        promote(1)
    assert f"{installed} is installed" in caught.value.message
    assert "no-such-thing 1 was logged, none is installed" in caught.value.message
    assert promote(1, override=True, reason="urgent") is not None
    move = audit_log.history(client, "small")[0]
    assert move.overridden
    assert len(move.evidence["other_libraries"]) == 3


def test_a_refused_version_is_only_promoted_by_override_with_a_reason(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register(decision="inconclusive")
    with pytest.raises(Refused, match="inconclusive"):
        promote(1)
    with pytest.raises(BadInput, match="needs a --reason"):
        promote(1, override=True, reason=" ")
    promote(1, override=True, reason="the shop cannot wait")
    (move,) = audit_log.history(client, "small")
    assert move.overridden
    assert move.verdict == "inconclusive"
    assert move.why == "the shop cannot wait"


def test_a_version_without_a_verdict_is_refused(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    client.delete_model_version_tag("small", "1", tags.DECISION)
    with pytest.raises(Refused, match="not given yet"):
        promote(1)


@pytest.mark.parametrize("file", ["artifacts/model/model.safetensors", "serving.py", "MLmodel", "requirements.txt"])
def test_one_flipped_byte_stops_a_promotion(
    client: MlflowClient, register: Register, promote: Promote, file: str
) -> None:
    register(0)
    register(1)
    promote(1)
    path = folder_of(client, 2) / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Corrupt, match=f"{file} was changed"):
        promote(2)
    assert queries.production(client, "small") == 1
    newest, _ = audit_log.history(client, "small")
    assert newest.state == "abandoned"
    assert file in client.get_run(newest.id).data.tags["modelworks.move.because"]


def test_a_package_that_is_gone_stops_a_promotion(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    folder = folder_of(client, 1)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(Corrupt, match="MLmodel is missing"):
        promote(1)
    assert queries.production(client, "small") == 0


def test_a_model_that_does_not_say_what_its_evaluation_said_is_refused(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    version = register()
    artifacts = Path(client.get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    path = artifacts / integrity.EVIDENCE / golden_predictions.FILE
    rows = pq.read_table(path)
    swapped = [row[::-1] for row in rows["probabilities"].to_pylist()]
    field = rows.schema.field("probabilities")
    place = rows.column_names.index("probabilities")
    pq.write_table(rows.set_column(place, field, pa.array(swapped, field.type)), path)
    with pytest.raises(Corrupt, match="test rows kept with small version 1"):
        promote(1)
    # Whoever can write the tag as well is past the digests, but not past the question.
    client.set_model_version_tag("small", "1", tags.PROBE, file_digest(path))
    with pytest.raises(Refused, match="does not predict what it did"):
        promote(1)


def test_a_version_that_something_else_registered_is_refused(client: MlflowClient, promote: Promote) -> None:
    client.create_registered_model("small")
    client.create_model_version("small", "file:///nowhere")
    with pytest.raises(Refused, match="was not registered by modelworks"):
        promote(1, override=True, reason="try")


def test_a_version_that_does_not_exist_is_bad_input(register: Register, promote: Promote) -> None:
    with pytest.raises(BadInput, match="no registered model"):
        promote(1)
    register()
    with pytest.raises(BadInput, match="no version 2"):
        promote(2)


def test_rollbacks_go_back_one_production_version_each_and_stop_at_the_first(
    client: MlflowClient, register: Register, promote: Promote, rollback: Callable[[], int]
) -> None:
    for seed in range(3):
        register(seed)
        promote(seed + 1)
    assert rollback() == 2
    assert rollback() == 1
    with pytest.raises(Refused, match="the first production version"):
        rollback()
    assert queries.production(client, "small") == 1
    moves = audit_log.history(client, "small")
    assert [(move.kind, move.before, move.after) for move in moves] == [
        ("rollback", 2, 1),
        ("rollback", 3, 2),
        ("promote", 2, 3),
        ("promote", 1, 2),
        ("promote", 0, 1),
    ]


def test_the_journal_knows_what_was_production_at_a_time(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
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


def test_a_rollback_needs_a_model_a_production_version_and_a_journal_that_knows_it(
    client: MlflowClient, register: Register, rollback: Callable[[], int]
) -> None:
    with pytest.raises(BadInput, match="no registered model"):
        rollback()
    register()
    with pytest.raises(Refused, match="no production version"):
        rollback()
    client.set_registered_model_alias("small", "production", "1")
    with pytest.raises(Refused, match="something else moved the alias"):
        rollback()


@pytest.mark.parametrize(("alias_moved", "state"), [(True, "done"), (False, "abandoned")])
def test_what_a_killed_promotion_left_is_settled_by_the_alias(
    client: MlflowClient, project: Project, register: Register, promote: Promote, alias_moved: bool, state: str
) -> None:
    register(0)
    register(1)
    promote(1)
    killed = intend(client, 1, 2)
    if alias_moved:
        client.set_registered_model_alias("small", "production", "2")
    assert promotion.settle(client, project, "small") == (), "this process lives: the intent is its own business"
    assert alias_drift.unexplained(client, "small") is None, "a move under way explains itself"
    die(client, killed)
    assert [move.id for move in promotion.settle(client, project, "small")] == [killed]
    newest = audit_log.history(client, "small")[0]
    assert (newest.id, newest.state) == (killed, state)
    assert queries.production(client, "small") == (2 if alias_moved else 1)
    assert promotion.settle(client, project, "small") == ()


@pytest.mark.parametrize("host", ["", "another"])
def test_whoever_takes_the_lock_first_finishes_what_a_killed_holder_had_moved(
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

    with pytest.raises(Refused, match="found version 3, moved there by a test at"):
        promote(2, proof=meanwhile)
    refused, killed, _ = sorted(audit_log.history(client, "small"), key=lambda move: move.state)
    assert (refused.state, killed.state, killed.number) == ("abandoned", "done", 2)


def test_what_another_machine_intends_is_left_to_it(
    client: MlflowClient, project: Project, register: Register, promote: Promote
) -> None:
    register(0)
    register(1)
    promote(1)
    die(client, intend(client, 1, 2), "another")
    assert promotion.settle(client, project, "small") == ()
    assert [move.state for move in audit_log.unfinished(client, "small")] == ["intent"]


def test_a_rollback_that_was_killed_after_it_moved_is_not_done_twice(
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


def test_production_moved_behind_our_back_is_found_and_adopted_or_put_back(
    client: MlflowClient, register: Register, promote: Promote, rollback: Callable[[], int]
) -> None:
    for seed in range(3):
        register(seed)
    assert alias_drift.moved_behind_our_back(client) == []
    promote(1)
    promote(2)
    assert alias_drift.moved_behind_our_back(client) == []
    client.set_registered_model_alias("small", "production", "3")
    (stray,) = alias_drift.moved_behind_our_back(client)
    assert (stray.name, stray.left, stray.found) == ("small", 2, 3)
    assert "production of small is version 3, but the journal left it on version 2" in stray.message
    with pytest.raises(Refused, match="something else moved the alias"):
        rollback()

    adopted = promote(3)
    assert adopted is not None
    assert (adopted.number, adopted.kind, adopted.before, adopted.after) == (3, "adopt", 2, 3)
    assert alias_drift.unexplained(client, "small") is None
    assert rollback() == 2

    client.set_registered_model_alias("small", "production", "1")
    put_back = promote(2)
    assert put_back is not None
    assert (put_back.kind, put_back.before, put_back.after) == ("promote", 1, 2)
    assert alias_drift.unexplained(client, "small") is None
    assert rollback() == 1

    client.delete_registered_model_alias("small", "production")
    stray = alias_drift.unexplained(client, "small")
    assert stray is not None
    assert "production of small is none" in stray.message
    assert stray.way_out == "modelworks promote small 1 --reason TEXT puts it back"


def test_a_version_that_is_not_blessed_is_not_adopted_either(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register(decision="reject")
    client.set_registered_model_alias("small", "production", "1")
    with pytest.raises(Refused, match="verdict on small version 1 is reject"):
        promote(1)


def test_a_clock_that_was_set_back_does_not_turn_history_around(
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


def test_evidence_that_a_tag_cannot_hold_is_shortened(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register()
    promote(1, evidence={"verdict": ["passed: " + "x" * 100] * 200, "text": "y" * 9000})
    (move,) = audit_log.history(client, "small")
    assert move.evidence["verdict"][-1] == "and more"
    assert "text" not in move.evidence
    assert "digest" in move.evidence


def test_a_run_that_somebody_else_puts_into_the_journal_does_not_change_it(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register()
    promote(1)
    client.create_run(client.get_experiment_by_name("small/production").experiment_id)
    assert len(audit_log.history(client, "small")) == 1


def intend(client: MlflowClient, before: int, after: int, kind: audit_log.Kind = "promote") -> str:
    """What a process writes down before it moves production."""
    chosen = queries.Registered(name="small", version=after, tags={tags.DECISION: "promote"})
    intent = audit_log.Intent(
        kind=kind, before=before, standing=before, who="a test", why="w", overridden=False, evidence={"a": 1}
    )
    return audit_log.intend(client, chosen, intent, "")


def die(client: MlflowClient, move: str, host: str = "") -> None:
    """Make the process that intended a move a dead one; of another host, one that nothing is known of."""
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
        with IsolatedModel() as witness:
            os.write(ready[1], b".")
            os.read(go[0], 1)
            try:
                named = {"expected": 1, "reason": "r", "who": "w", "evidence": {}, "proof": partial(prove, witness=witness)}
                promotion.promote(client, project, "small", version, **named)
            except Refused as error:
                os._exit(3 if "changed meanwhile" in str(error) else 1)
        os._exit(0)
    children.append(child)
os.read(ready[0], 1), os.read(ready[0], 1)
os.write(go[1], b"..")
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


def test_of_two_promotions_at_once_exactly_one_wins(
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


class GivenUp:
    """A lock that lets somebody else in before it says that it was lost, as a lease that nobody renewed."""

    kind = "a lease"

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.meanwhile = meanwhile

    @contextmanager
    def hold(self, name: str, purpose: str) -> Iterator[None]:
        yield
        self.meanwhile()
        raise Unavailable(f"the lock {name} was lost while {purpose}")


def test_a_move_that_was_done_stays_done_though_its_lock_was_lost(
    client: MlflowClient, register: Register, promote: Promote, rollback: Callable[[], int]
) -> None:
    for seed in range(2):
        register(seed)
    with pytest.raises(Unavailable, match="was lost"):
        promote(1, lock=GivenUp(lambda: promote(2)))
    moves = [(move.before, move.after, move.state) for move in audit_log.history(client, "small")]
    assert moves == [(1, 2, "done"), (0, 1, "done")]
    assert rollback() == 1


def test_the_saved_model_of_a_version_is_fetched_once_and_mended_when_damaged(
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

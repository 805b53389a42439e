from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelworks.digest import file_digest
from modelworks.errors import BadInput, Corrupt, Refused
from modelworks.records import ModelVersion
from modelworks.registry import journal, lineage, package, probe, production, proof, versions
from modelworks.registry.owner import Owner

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.registry.witness import Witness

Register = Callable[..., ModelVersion]
Promote = Callable[..., int]


@pytest.fixture
def promote(client: MlflowClient, project: Project, witness: Witness) -> Promote:
    """Promote with everything that a test does not care about filled in."""

    def call(version: int, expected: int | None = None, **named: Any) -> int:
        given: dict[str, Any] = {"reason": "the gate's verdict", "who": "a test", "evidence": {"why": 1}} | named
        return production.promote(client, project, "small", version, expected=expected, witness=witness, **given)

    return call


@pytest.fixture
def rollback(client: MlflowClient, project: Project, witness: Witness) -> Callable[[], int]:
    return lambda: production.rollback(
        client, project, "small", reason="worse in the shop", who="a test", witness=witness
    )


def folder_of(client: MlflowClient, version: int) -> Path:
    """Where the artifact store keeps the package of a version."""
    return Path(client.get_model_version_download_uri("small", str(version)).removeprefix("file://"))


def test_a_promotion_proves_moves_and_writes_it_down(
    client: MlflowClient, project: Project, register: Register
) -> None:
    version = register()
    # With a fresh process of its own, as a person's promotion has.
    now = production.promote(client, project, "small", 1, expected=0, reason="first", who="ann", evidence={"f1": 0.9})
    assert now == versions.production(client, "small") == 1
    (move,) = journal.history(client, "small")
    assert (move.kind, move.before, move.after, move.who, move.why, move.state) == (
        "promote",
        0,
        1,
        "ann",
        "first",
        "done",
    )
    assert move.evidence["f1"] == 0.9
    assert move.evidence["digest"] == version.digest
    assert move.evidence["probe_rows"] == probe.ROWS
    assert move.evidence["largest_difference"] <= probe.TOLERANCE
    run = client.get_run(move.id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "small/production"


def test_promoting_what_is_production_already_changes_nothing(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register()
    assert promote(1) == promote(1, expected=0) == 1
    assert len(journal.history(client, "small")) == 1


def test_production_that_changed_meanwhile_is_not_overwritten(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    for seed in range(3):
        register(seed)
    promote(1, expected=0)
    promote(2, expected=1)
    with pytest.raises(Refused, match="expected version 1, found version 2"):
        promote(3, expected=1)
    assert versions.production(client, "small") == 2


def test_a_refused_version_is_only_promoted_by_force_with_a_reason(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register(decision="not enough evidence")
    with pytest.raises(Refused, match="not enough evidence"):
        promote(1)
    with pytest.raises(BadInput, match="needs a reason"):
        promote(1, force=True, reason=" ")
    assert promote(1, force=True, reason="the shop cannot wait") == 1
    (move,) = journal.history(client, "small")
    assert move.forced
    assert move.why == "the shop cannot wait"


def test_a_version_without_a_verdict_is_refused(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    client.delete_model_version_tag("small", "1", lineage.DECISION)
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
    assert versions.production(client, "small") == 1
    newest, _ = journal.history(client, "small")
    assert newest.state == "abandoned"
    assert file in client.get_run(newest.id).data.tags["modelworks.move.because"]


def test_a_package_that_is_gone_stops_a_promotion(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    folder = folder_of(client, 1)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(Corrupt, match="cannot be fetched"):
        promote(1)
    assert versions.production(client, "small") == 0


def test_a_model_that_does_not_say_what_its_evaluation_said_is_refused(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    version = register()
    artifacts = Path(client.get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    path = artifacts / package.EVIDENCE / probe.FILE
    rows = pq.read_table(path)
    swapped = [
        [(label, value) for (label, _), (_, value) in zip(row, row[::-1], strict=True)]
        for row in rows["probabilities"].to_pylist()
    ]
    field = rows.schema.field("probabilities")
    pq.write_table(rows.set_column(3, field, pa.array(swapped, field.type)), path)
    with pytest.raises(Corrupt, match="test rows kept with small version 1"):
        promote(1)
    # Whoever can write the tag as well is past the digests, but not past the question.
    client.set_model_version_tag("small", "1", lineage.PROBE, file_digest(path))
    with pytest.raises(Refused, match="does not say what it said"):
        promote(1)


def test_a_version_that_something_else_registered_is_refused(client: MlflowClient, promote: Promote) -> None:
    client.create_registered_model("small")
    client.create_model_version("small", "file:///nowhere")
    with pytest.raises(Refused, match="was not registered by modelworks"):
        promote(1, force=True, reason="try")


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
    assert versions.production(client, "small") == 1
    moves = journal.history(client, "small")
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
    newest, oldest = journal.history(client, "small")
    assert journal.at(client, "small", before) == 0
    assert journal.at(client, "small", oldest.when) == 1
    assert journal.at(client, "small", newest.when) == 2
    assert journal.at(client, "another", newest.when) == 0


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
    killed = journal.intend(
        client, "small", kind="promote", before=1, after=2, who="a test", why="w", forced=False, evidence={"a": 1}
    )
    if alias_moved:
        client.set_registered_model_alias("small", "production", "2")
    assert production.settle(client, project, "small") == (), "this process lives: the intent is its own business"
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        owner = Owner(host=Owner.this().host, pid=dead.pid, started=0, boot=Owner.this().boot)
    for name, value in owner.written().items():
        client.set_tag(killed, f"modelworks.process.{name}", value)
    assert [move.id for move in production.settle(client, project, "small")] == [killed]
    newest = journal.history(client, "small")[0]
    assert (newest.id, newest.state) == (killed, state)
    assert versions.production(client, "small") == (2 if alias_moved else 1)
    assert production.settle(client, project, "small") == ()


PROMOTED_AT_ONCE = """
import json, os, sys
from pathlib import Path

import mlflow

from modelworks.errors import Refused
from modelworks.project import Project
from modelworks.registry import production, store
from modelworks.registry.witness import Witness

project = Project(Path(sys.argv[1]))
ready, go = os.pipe(), os.pipe()
children = []
for version in (2, 3):
    child = os.fork()
    if not child:
        client = store.connect(project)
        with Witness() as witness:
            os.write(ready[1], b".")
            os.read(go[0], 1)
            try:
                named = {"expected": 1, "reason": "r", "who": "w", "evidence": {}, "witness": witness}
                production.promote(client, project, "small", version, **named)
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
    assert versions.production(client, "small") == winner
    done = [move for move in journal.history(client, "small") if move.state == "done"]
    assert [(move.before, move.after) for move in done] == [(1, winner), (0, 1)]


def test_the_saved_model_of_a_version_is_fetched_once_and_mended_when_damaged(
    client: MlflowClient, project: Project, register: Register
) -> None:
    version = register()
    folder = proof.model_folder(client, project, "small", 1)
    original = (version.evaluation.trained.model_folder / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == original
    inode = (folder / "model.json").stat().st_ino
    assert proof.model_folder(client, project, "small", 1) == folder
    assert (folder / "model.json").stat().st_ino == inode
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert proof.model_folder(client, project, "small", 1) == folder
    assert (folder / "model.safetensors").read_bytes() == original

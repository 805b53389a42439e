"""Production that was moved in MLflow or by a concurrent process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from registry.production.promotion_types import Promote, Register

from modelworks.errors import Refused, Unavailable
from modelworks.registry.production import alias_drift, audit_log
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project


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


def test_other_runs_in_the_audit_log_experiment_are_ignored(
    client: MlflowClient, register: Register, promote: Promote
) -> None:
    register()
    promote(1)
    client.create_run(client.get_experiment_by_name("small/production").experiment_id)
    assert len(audit_log.history(client, "small")) == 1


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

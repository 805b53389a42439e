"""The audit log of production: production at a time, moves of killed processes, and evidence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from registry.production.promotion_types import Promote, Register

from modelworks.errors import BadInput, Refused
from modelworks.registry.production import alias_drift, audit_log, promotion
from modelworks.registry.tracking import tags
from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project


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


def test_evidence_too_long_for_a_tag_is_truncated(client: MlflowClient, register: Register, promote: Promote) -> None:
    register()
    promote(1, evidence={"verdict": ["passed: " + "x" * 100] * 200, "text": "y" * 9000})
    (move,) = audit_log.history(client, "small")
    assert move.evidence["verdict"][-1] == "and more"
    assert "text" not in move.evidence
    assert "digest" in move.evidence


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

"""Write the audit log of production: one MLflow run per move, in `<model>/production`.

A move is logged as an intent before the alias moves, and as done after. The intent of a dead process is completed or
abandoned later, depending on the alias. Done moves are numbered under the lock, so their order does not depend on
clocks.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelworks.fault_injection import effect, fault_point
from modelworks.files.digest import canonical_json
from modelworks.redaction import redacted
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.idempotent_create import created
from modelworks.registry.backend.tracking_store import ensure_experiment
from modelworks.registry.production.audit_queries import (
    Kind,
    Move,
    State,
    at,
    experiment_of,
    history,
    last,
    previous,
    read,
    unfinished,
)
from modelworks.registry.tracking import tags as lineage
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = [
    "Intent",
    "Kind",
    "Move",
    "State",
    "abandon",
    "at",
    "cut_off",
    "done",
    "history",
    "intend",
    "last",
    "previous",
    "settle",
    "unfinished",
]

STATUS: Mapping[State, str] = {"done": "FINISHED", "abandoned": "FAILED"}


@dataclass(frozen=True, kw_only=True)
class Intent:
    """An intended move of production."""

    kind: Kind
    before: int
    """The production version in the audit log."""
    expected: int
    """The version of the alias, which must be unchanged when it is moved."""
    who: str
    why: str
    overridden: bool
    evidence: Mapping[str, Any]


@maps_tracking_errors
def intend(client: MlflowClient, chosen: Registered, intent: Intent, lock: str) -> str:
    """Log an intended move; return the id of its entry.

    One entry is created, even if the server's reply is lost.
    """
    key, name, why = uuid.uuid4().hex, chosen.name, redacted(intent.why)
    fields = {
        "kind": intent.kind,
        "from": str(intent.before),
        "to": str(chosen.version),
        "who": intent.who,
        "why": why,
        "verdict": chosen.decision,
        "lock": lock,
    }
    note = f"**{intent.kind}** version {intent.before or 'none'} to {chosen.version}, by {intent.who}: {why}"
    tags = {
        lineage.MOVE_KEY: key,
        **{lineage.MOVE + field: value for field, value in fields.items()},
        lineage.MOVE_STATE: "intent",
        **lineage.moved_tags(overridden=intent.overridden, evidence=_evidence_json(intent.evidence)),
        **lineage.owner_tags(),
        "mlflow.note.content": note,
    }
    experiment = ensure_experiment(client, experiment_of(name))

    def create() -> str:
        return str(
            client.create_run(
                experiment, run_name=f"{intent.kind} {intent.before} to {chosen.version}", tags=tags
            ).info.run_id
        )

    def find() -> str | None:
        found = client.search_runs([experiment], f"tags.`{lineage.MOVE_KEY}` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    with effect("audit_log.intent"):
        return created(client, create, find)


@maps_tracking_errors
def done(client: MlflowClient, name: str, move: str, evidence: Mapping[str, Any], *, overridden: bool) -> Move:
    """Log that the alias has moved, and number the move; requires the model's lock."""
    before = last(client, name)
    now = datetime.now(UTC)
    if before is not None:
        now = max(now, before.when)  # a clock that was set back must not change the order
    tags = {
        lineage.MOVE_NUMBER: f"{(before.number if before else 0) + 1:09d}",  # sorts as text
        lineage.MOVE_WHEN: now.isoformat(),
        **lineage.moved_tags(overridden=overridden, evidence=_evidence_json(evidence)),
    }
    with effect("audit_log.done"):
        _end(client, move, "done", tags)
    return read(client.get_run(move))


@maps_tracking_errors
def abandon(client: MlflowClient, move: str, because: str) -> None:
    """Log that the alias was not moved, unless the move has ended meanwhile."""
    if read(client.get_run(move)).state != "intent":
        return
    with effect("audit_log.abandoned"):
        tags = {lineage.MOVE_BECAUSE: because[: lineage.LONGEST], lineage.MOVE_WHEN: datetime.now(UTC).isoformat()}
        _end(client, move, "abandoned", tags)


def cut_off(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Return intents whose process is dead, or cannot be checked from this machine."""
    return tuple(
        move for move in unfinished(client, name) if move.owner is None or not move.owner.is_here or move.owner.is_dead
    )


@maps_tracking_errors
def settle(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Complete or abandon the intents of dead processes; return those moves as they were found.

    Requires the model's lock, so that no other process is between moving the alias and logging it. If the alias differs
    from the last done move, the intent with its version has moved it, on any machine. Other intents of dead processes
    are abandoned; those of other machines may be in progress.
    """
    left = cut_off(client, name)
    if not left:
        return ()
    now, newest = queries.production(client, name), last(client, name)
    recorded = newest.after if newest else 0
    settled = []
    for move in left:
        if now == move.after != recorded:
            note = {"settled": "the process died after the alias had moved"}
            done(client, name, move.id, {**move.evidence, **note}, overridden=move.overridden)
            recorded = now
        elif move.owner is not None and move.owner.is_dead:
            abandon(client, move.id, "the process died before the alias had moved")
        else:
            continue
        settled.append(move)
    return tuple(settled)


def _end(client: MlflowClient, move: str, state: State, tags: Mapping[str, str]) -> None:
    """End the run, then write the outcome: all tags in one transaction, which is decisive."""
    from mlflow.entities import RunTag

    client.set_terminated(move, STATUS[state])
    fault_point("audit_log.after_end")
    outcome = {**tags, lineage.MOVE_STATE: state}
    client.log_batch(move, tags=[RunTag(name, value) for name, value in outcome.items()])


def _evidence_json(evidence: Mapping[str, Any]) -> str:
    """Return evidence as JSON; truncate lists if it exceeds a tag."""
    shortened = dict(evidence)
    while len(text := canonical_json(shortened)) > lineage.LONGEST:
        name = max(shortened, key=lambda each: len(canonical_json(shortened[each])))
        value = shortened[name]
        if isinstance(value, list) and len(value) > 2:
            shortened[name] = [*value[: len(value) // 2], "and more"]
        else:
            del shortened[name]
    return text

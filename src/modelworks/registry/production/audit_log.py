"""The history of production: one MLflow run per move, in the experiment `<model>/production`, to browse in the UI.

A move is written down as an intent before the alias moves, and as done after. What a dead process left as an intent
is settled later by looking at the alias. Done moves are numbered under the lock: they form one chain, in which each
begins where the one before it ended, whatever the clocks say.
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
from modelworks.registry.backend.error_mapping import said_clearly
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
    """What is to be moved, and why."""

    kind: Kind
    before: int
    """For the journal: where its last move ended."""
    standing: int
    """Where the alias is, and must still be when it moves."""
    who: str
    why: str
    overridden: bool
    evidence: Mapping[str, Any]


@said_clearly
def intend(client: MlflowClient, chosen: Registered, intent: Intent, lock: str) -> str:
    """Write down an intended move to a version under a kind of lock; returns its id.

    There is one entry, even if the server's reply is lost.
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
    words = f"**{intent.kind}** version {intent.before or 'none'} to {chosen.version}, by {intent.who}: {why}"
    tags = {
        lineage.MOVE_KEY: key,
        **{lineage.MOVE + field: value for field, value in fields.items()},
        lineage.MOVE_STATE: "intent",
        **lineage.moved_tags(overridden=intent.overridden, evidence=_fitting(intent.evidence)),
        **lineage.owner_tags(),
        "mlflow.note.content": words,
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

    with effect("journal.intent"):
        return created(client, create, find)


@said_clearly
def done(client: MlflowClient, name: str, move: str, evidence: Mapping[str, Any], *, overridden: bool) -> Move:
    """The alias has moved. Call while holding the model's lock: it numbers the move."""
    before = last(client, name)
    now = datetime.now(UTC)
    if before is not None:
        now = max(now, before.when)  # a clock that was set back does not turn history around
    tags = {
        lineage.MOVE_NUMBER: f"{(before.number if before else 0) + 1:09d}",  # sorts as text
        lineage.MOVE_WHEN: now.isoformat(),
        **lineage.moved_tags(overridden=overridden, evidence=_fitting(evidence)),
    }
    with effect("journal.done"):
        _end(client, move, "done", tags)
    return read(client.get_run(move))


@said_clearly
def abandon(client: MlflowClient, move: str, because: str) -> None:
    """The alias was not moved; a move that somebody has ended meanwhile stays as it is."""
    if read(client.get_run(move)).state != "intent":
        return
    with effect("journal.abandoned"):
        tags = {lineage.MOVE_BECAUSE: because[: lineage.LONGEST], lineage.MOVE_WHEN: datetime.now(UTC).isoformat()}
        _end(client, move, "abandoned", tags)


def cut_off(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Intents of processes that are dead, or of which this machine cannot know whether they live."""
    return tuple(
        move for move in unfinished(client, name) if move.owner is None or not move.owner.is_here or move.owner.is_dead
    )


@said_clearly
def settle(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Close what dead processes left as intents; returns the moves as they were found.

    Call while holding the model's lock: then nobody is between moving the alias and saying so. An alias that no
    finished move explains was therefore moved by the intent that names it, on whichever machine. The other intents of
    dead processes came to nothing; those of other machines may still be at work.
    """
    left = cut_off(client, name)
    if not left:
        return ()
    now, newest = queries.production(client, name), last(client, name)
    explained = newest.after if newest else 0
    settled = []
    for move in left:
        if now == move.after != explained:
            words = {"settled": "the process died after the alias had moved"}
            done(client, name, move.id, {**move.evidence, **words}, overridden=move.overridden)
            explained = now
        elif move.owner is not None and move.owner.is_dead:
            abandon(client, move.id, "the process died before the alias had moved")
        else:
            continue
        settled.append(move)
    return tuple(settled)


def _end(client: MlflowClient, move: str, state: State, tags: Mapping[str, str]) -> None:
    """End the run, then say what became of the move: all tags in one transaction, which is the one that counts."""
    from mlflow.entities import RunTag

    client.set_terminated(move, STATUS[state])
    fault_point("journal.after_end")
    written = {**tags, lineage.MOVE_STATE: state}
    client.log_batch(move, tags=[RunTag(name, value) for name, value in written.items()])


def _fitting(evidence: Mapping[str, Any]) -> str:
    """Evidence as JSON; where a tag cannot hold all, lists lose their ends, and say so."""
    kept = dict(evidence)
    while len(text := canonical_json(kept)) > lineage.LONGEST:
        name = max(kept, key=lambda each: len(canonical_json(kept[each])))
        value = kept[name]
        if isinstance(value, list) and len(value) > 2:
            kept[name] = [*value[: len(value) // 2], "and more"]
        else:
            del kept[name]
    return text

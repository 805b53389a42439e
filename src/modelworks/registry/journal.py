"""The history of production: one MLflow run per move, in the experiment `<model>/production`, to browse in the UI.

A move is written down as an intent before the alias moves, and as done after. What a dead process left as an intent
is settled later by looking at the alias.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from modelworks.digest import canonical_json
from modelworks.registry import lineage, versions
from modelworks.registry.failures import said_clearly
from modelworks.registry.pages import all_pages
from modelworks.registry.store import ensure_experiment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from modelworks.registry.owner import Owner

__all__ = ["Kind", "Move", "State", "abandon", "at", "done", "history", "intend", "previous", "settle"]

Kind = Literal["promote", "rollback"]
State = Literal["intent", "done", "abandoned"]


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of production, or the attempt at one."""

    id: str
    """Of its MLflow run."""
    kind: Kind
    before: int
    """The version that was production; 0 for none."""
    after: int
    who: str
    why: str
    forced: bool
    """Whether the gate's verdict was overruled."""
    evidence: Mapping[str, Any]
    state: State
    when: datetime
    """When it was done or abandoned; of an intent, when it was begun."""
    owner: Owner | None
    """The process that made it."""


@said_clearly
def intend(
    client: MlflowClient,
    name: str,
    *,
    kind: Kind,
    before: int,
    after: int,
    who: str,
    why: str,
    forced: bool,
    evidence: Mapping[str, Any],
) -> str:
    """Write down an intended move; returns its id."""
    tags = lineage.move_tags(kind=kind, before=before, after=after, who=who, why=why, forced=forced, evidence=evidence)
    tags["mlflow.note.content"] = f"**{kind}** version {before or 'none'} to {after}, by {who}: {why}"
    run = client.create_run(
        ensure_experiment(client, _experiment(name)), run_name=f"{kind} {before} to {after}", tags=tags
    )
    return str(run.info.run_id)


@said_clearly
def done(client: MlflowClient, move: str, evidence: Mapping[str, Any]) -> None:
    """The alias has moved."""
    client.set_tag(move, lineage.MOVE + "evidence", canonical_json(evidence))
    _end(client, move, "done", "FINISHED")


@said_clearly
def abandon(client: MlflowClient, move: str, because: str) -> None:
    """The alias was not moved."""
    client.set_tag(move, lineage.MOVE + "because", because[: lineage.LONGEST])
    _end(client, move, "abandoned", "FAILED")


@said_clearly
def history(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Every move of a model's production and every attempt at one, newest first."""
    experiment = client.get_experiment_by_name(_experiment(name))
    if experiment is None:
        return ()
    runs: list[Run] = all_pages(
        lambda token: client.search_runs(
            [experiment.experiment_id], order_by=["attributes.start_time DESC"], page_token=token
        )
    )
    return tuple(sorted(map(_move, runs), key=lambda move: move.when, reverse=True))


def at(client: MlflowClient, name: str, time: datetime) -> int:
    """The version that was production at a time (with a time zone); 0 for none."""
    return next((move.after for move in history(client, name) if move.state == "done" and move.when <= time), 0)


def previous(moves: tuple[Move, ...]) -> int:
    """The version that a rollback goes to, from moves newest first; 0 for none.

    Promotions pile up and a rollback takes the topmost away: two rollbacks go two versions back.
    """
    pile: list[int] = []
    for move in reversed(moves):
        if move.state != "done":
            continue
        if move.kind == "promote":
            pile.append(move.after)
        elif pile:
            pile.pop()
    return pile[-2] if len(pile) > 1 else 0


@said_clearly
def settle(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Close what dead processes of this machine left as intents; returns the moves as they were found.

    Call while holding the model's lock. An alias that no finished move explains was moved by the intent that names it.
    """
    moves = history(client, name)
    left = tuple(move for move in moves if move.state == "intent" and move.owner is not None and move.owner.is_dead)
    if not left:
        return ()
    now = versions.production(client, name)
    explained = next((move.after for move in moves if move.state == "done"), 0)
    for move in left:
        if now == move.after != explained:
            done(client, move.id, {**move.evidence, "settled": "the process died after the alias had moved"})
            explained = now
        else:
            abandon(client, move.id, "the process died before the alias had moved")
    return left


def _experiment(name: str) -> str:
    return f"{name}/production"


def _end(client: MlflowClient, move: str, state: State, status: str) -> None:
    client.set_tag(move, lineage.MOVE_STATE, state)
    client.set_terminated(move, status)


def _move(run: Run) -> Move:
    def tag(part: str) -> str:
        return str(run.data.tags[lineage.MOVE + part])

    kind: Kind = "rollback" if tag("kind") == "rollback" else "promote"
    state: State = {"done": "done", "abandoned": "abandoned"}.get(tag("state"), "intent")  # type: ignore[assignment]
    milliseconds = run.info.end_time if state != "intent" and run.info.end_time else run.info.start_time
    return Move(
        id=run.info.run_id,
        kind=kind,
        before=int(tag("from")),
        after=int(tag("to")),
        who=tag("who"),
        why=tag("why"),
        forced=tag("forced") == "yes",
        evidence=json.loads(tag("evidence")),
        state=state,
        when=datetime.fromtimestamp(milliseconds / 1000, UTC),
        owner=lineage.owner_of(run.data.tags),
    )

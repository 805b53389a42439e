"""The journal of production, read: its moves as records, newest first."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from modelworks.records import decision
from modelworks.registry.backend.error_mapping import said_clearly
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.tracking import tags as lineage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from modelworks.registry.tracking.process_identity import Owner

__all__ = ["Kind", "Move", "State", "at", "experiment_of", "history", "last", "previous", "read", "unfinished"]

Kind = Literal["promote", "rollback", "adopt"]
"""To adopt is to promote what is production already because something outside the journal made it so."""
State = Literal["intent", "done", "abandoned"]


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of production, or the attempt at one."""

    id: str
    """Of its MLflow run."""
    number: int
    """Counts the moves that were done, from 1; 0 for what is not done."""
    kind: Kind
    before: int
    """The version that was production; 0 for none."""
    after: int
    who: str
    why: str
    verdict: str
    """What the gate had said about `after`; empty when it had not spoken."""
    overridden: bool
    """Whether the gate, or a difference of libraries, was overruled."""
    lock: str
    """The kind of the lock it was made under."""
    evidence: Mapping[str, Any]
    state: State
    because: str
    """Why it was abandoned; empty otherwise."""
    when: datetime
    """When it was done or abandoned; of an intent, when it was begun. Of done moves never before the one before."""
    owner: Owner | None
    """The process that made it."""


@said_clearly
def history(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Every move of a model's production and every attempt at one, newest first."""
    return tuple(sorted(_search(client, name), key=lambda move: (move.when, move.number), reverse=True))


@said_clearly
def last(client: MlflowClient, name: str) -> Move | None:
    """The newest move that was done; reads one run, however long the history is."""
    order = [f"tags.`{lineage.MOVE_NUMBER}` DESC", "attributes.start_time DESC"]
    experiment = client.get_experiment_by_name(experiment_of(name))
    if experiment is None:
        return None
    found = client.search_runs([experiment.experiment_id], _in_state("done"), order_by=order, max_results=1)
    return read(found[0]) if found else None


@said_clearly
def unfinished(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Intents that nothing has become of yet, oldest first: somebody is at work, or died."""
    return tuple(sorted(_search(client, name, _in_state("intent")), key=lambda move: move.when))


def at(client: MlflowClient, name: str, time: datetime) -> Move | None:
    """The move that made production what it was at a time (with a time zone); None while there was no production."""
    return next((move for move in history(client, name) if move.state == "done" and move.when <= time), None)


def previous(moves: tuple[Move, ...], existing: Collection[int]) -> int:
    """The version that a rollback goes to, from moves newest first; 0 for none.

    Promotions pile up and a rollback takes the topmost away: two rollbacks go two versions back. A version that does
    not exist any more is left out.
    """
    pile: list[int] = []
    for move in reversed(moves):
        if move.state != "done":
            continue
        if move.kind == "rollback":
            del pile[-1:]
        elif pile[-1:] != [move.after]:  # what was put back after a move behind our back lies there already
            pile.append(move.after)
    left = [version for version, _ in itertools.groupby(each for each in pile if each in existing)]
    return left[-2] if len(left) > 1 else 0


def experiment_of(name: str) -> str:
    """The experiment that holds a model's journal."""
    return f"{name}/production"


def _in_state(state: State) -> str:
    return f"tags.`{lineage.MOVE_STATE}` = '{state}'"


def _search(client: MlflowClient, name: str, condition: str = "") -> list[Move]:
    experiment = client.get_experiment_by_name(experiment_of(name))
    if experiment is None:
        return []
    runs: list[Run] = all_pages(
        lambda token: client.search_runs([experiment.experiment_id], condition, page_token=token)
    )
    # Whoever starts a run of their own there does not change history.
    return [read(run) for run in runs if lineage.MOVE_STATE in run.data.tags]


def read(run: Run) -> Move:
    """The move that a run of the journal stands for."""
    tags = run.data.tags

    def tag(part: str, missing: str = "") -> str:
        return str(tags.get(lineage.MOVE + part, missing))

    when = tags.get(lineage.MOVE_WHEN)
    return Move(
        id=run.info.run_id,
        number=int(tag("number", "0")),
        kind=tag("kind"),  # type: ignore[arg-type]  # as `intend` wrote it
        before=int(tag("from")),
        after=int(tag("to")),
        who=tag("who"),
        why=tag("why"),
        verdict=decision(tag("verdict")),
        overridden=tag("overridden", "no") == "yes",
        lock=tag("lock"),
        evidence=json.loads(tag("evidence", "{}")),
        state=tag("state"),  # type: ignore[arg-type]  # likewise
        because=tag("because"),
        when=datetime.fromisoformat(when) if when else datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        owner=lineage.owner_of(tags),
    )

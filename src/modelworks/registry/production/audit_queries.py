"""Read the audit log of production as records."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from modelworks.records import decision
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.tracking import tags as lineage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from modelworks.registry.tracking.process_identity import Owner

__all__ = ["Kind", "Move", "State", "at", "experiment_of", "history", "last", "previous", "read", "unfinished"]

Kind = Literal["promote", "rollback", "adopt"]
"""`adopt` records a version that was made production outside modelworks."""
State = Literal["intent", "done", "abandoned"]


@dataclass(frozen=True, kw_only=True)
class Move:
    """A move of production, or an attempt."""

    id: str
    """The id of its MLflow run."""
    number: int
    """The number of a done move, from 1; 0 if it is not done."""
    kind: Kind
    before: int
    """The version that was production; 0 for none."""
    after: int
    who: str
    why: str
    verdict: str
    """The gate's decision about `after`; empty if there was none."""
    overridden: bool
    """Whether the gate, or a difference of libraries, was overridden."""
    lock: str
    """The kind of lock that was held."""
    evidence: Mapping[str, Any]
    state: State
    because: str
    """Why it was abandoned; empty otherwise."""
    when: datetime
    """When it was done or abandoned; for an intent, when it started. Non-decreasing over done moves."""
    owner: Owner | None
    """The process that moved it."""


@maps_tracking_errors
def history(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Return every move of a model's production and every attempt, newest first."""
    return tuple(sorted(_search(client, name), key=lambda move: (move.when, move.number), reverse=True))


@maps_tracking_errors
def last(client: MlflowClient, name: str) -> Move | None:
    """Return the newest done move; read only one run."""
    order = [f"tags.`{lineage.MOVE_NUMBER}` DESC", "attributes.start_time DESC"]
    experiment = client.get_experiment_by_name(experiment_of(name))
    if experiment is None:
        return None
    found = client.search_runs([experiment.experiment_id], _in_state("done"), order_by=order, max_results=1)
    return read(found[0]) if found else None


@maps_tracking_errors
def unfinished(client: MlflowClient, name: str) -> tuple[Move, ...]:
    """Return intents that are neither done nor abandoned, oldest first."""
    return tuple(sorted(_search(client, name, _in_state("intent")), key=lambda move: move.when))


def at(client: MlflowClient, name: str, time: datetime) -> Move | None:
    """Return the last done move at a time (with a time zone); None before the first."""
    return next((move for move in history(client, name) if move.state == "done" and move.when <= time), None)


def previous(moves: tuple[Move, ...], existing: Collection[int]) -> int:
    """Return the version for a rollback, from moves newest first; 0 for none.

    Promotions push onto a stack and a rollback pops: two rollbacks go two versions back. Deleted versions are skipped.
    """
    stack: list[int] = []
    for move in reversed(moves):
        if move.state != "done":
            continue
        if move.kind == "rollback":
            del stack[-1:]
        elif stack[-1:] != [move.after]:  # a version that was restored after drift is on the stack already
            stack.append(move.after)
    left = [version for version, _ in itertools.groupby(each for each in stack if each in existing)]
    return left[-2] if len(left) > 1 else 0


def experiment_of(name: str) -> str:
    """Return the name of the experiment with a model's audit log."""
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
    # Other runs in the experiment are not part of the audit log.
    return [read(run) for run in runs if lineage.MOVE_STATE in run.data.tags]


def read(run: Run) -> Move:
    """Return the move of a run of the audit log."""
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
        state=tag("state"),  # type: ignore[arg-type]  # as `_end` wrote it
        because=tag("because"),
        when=datetime.fromisoformat(when) if when else datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        owner=lineage.owner_of(tags),
    )

"""Read the unfinished runs in Prefect's SQLite database by SQL.

The table layout is undocumented.

`tests/contracts/test_contracts_prefect_3_8.py` compares the result with what Prefect's client returns. The public
replacement is `read_flow_runs` of a running server; starting one takes seconds and writes to the database, which
`modelworks doctor --dry-run` must not do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from modelworks.sqlite.databases import reading

__all__ = ["FlowRun", "unfinished"]

UNFINISHED = "('RUNNING', 'PENDING', 'CANCELLING')"


@dataclass(frozen=True)
class FlowRun:
    """A flow run that has started but not ended."""

    id: str
    labels: dict[str, str]
    state: str
    """Prefect's state type: RUNNING, PENDING or CANCELLING."""
    attempt: int
    """Number of times it was started."""
    since: datetime
    """When it entered this state, started or was created: the first of these that is known."""
    task_runs: tuple[str, ...]
    """Ids of its unfinished task runs."""


def unfinished(path: Path) -> tuple[FlowRun, ...]:
    """Return the unfinished flow runs, oldest first, without changing the database.

    Raises:
        sqlite3.DatabaseError: the file is damaged or not a Prefect database.
    """
    with reading(path) as connection:
        return tuple(_flow_runs(connection))


def _flow_runs(connection: sqlite3.Connection) -> Iterator[FlowRun]:
    tasks = connection.execute(
        f"SELECT flow_run_id, id FROM task_run WHERE state_type IN {UNFINISHED}"  # noqa: S608
    ).fetchall()
    for number, labels, state, attempt, since in connection.execute(
        "SELECT id, labels, state_type, run_count, COALESCE(state_timestamp, start_time, created)"  # noqa: S608
        f" FROM flow_run WHERE state_type IN {UNFINISHED} ORDER BY created"
    ):
        yield FlowRun(
            id=str(number),
            labels=json.loads(labels or "{}"),
            state=state,
            attempt=attempt,
            since=datetime.fromisoformat(since).replace(tzinfo=UTC),
            task_runs=tuple(str(task) for flow, task in tasks if str(flow) == str(number)),
        )

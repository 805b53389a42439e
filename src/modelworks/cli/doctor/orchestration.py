"""Prefect's runs that say Running while their process is dead. Of the embedded database alone: a server has its own."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from modelworks.cli.doctor.finding import Finding, sick, well
from modelworks.project import Project
from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.tracking.tags import ATTEMPT, OWNER
from modelworks.servers.no_proxy import ask
from modelworks.servers.prefect_client import serving_address, start_server
from modelworks.sqlite.databases import reading

__all__ = ["examine"]

WHAT = "Prefect's runs of dead processes"
NAMELESS = timedelta(minutes=10)
"""A run writes its process onto itself before anything else. One that has not done so after this time was killed."""
OPEN = "('RUNNING', 'PENDING', 'CANCELLING')"


def examine(project: Project) -> Iterator[Finding]:
    """The flow runs, and the task runs below them."""
    path = project.prefect_home / "prefect.db"
    if project.prefect_url or not path.exists():
        yield well(WHAT, f"known to {project.prefect_url}" if project.prefect_url else "none")
        return
    try:
        with reading(path) as connection:
            flows = _stale(connection)
            tasks = _tasks(connection, flows)
    except sqlite3.DatabaseError:  # said of the database itself before
        return
    if not flows:
        yield well(WHAT, "none")
        return

    def remedy() -> str:
        _crash(project, flows, tasks)
        return f"{len(flows)} flow runs and {len(tasks)} task runs are Crashed now"

    yield sick(WHAT, f"{len(flows)} flow runs, {len(tasks)} task runs", remedy)


def _stale(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT id, labels, state_type, run_count, COALESCE(state_timestamp, start_time, created)"  # noqa: S608
        f" FROM flow_run WHERE state_type IN {OPEN} ORDER BY created"
    )
    return [
        str(number)
        for number, labels, state, attempt, since in rows
        if _is_stale(json.loads(labels or "{}"), state, attempt, since)
    ]


def _is_stale(labels: dict[str, str], state: str, attempt: int, since: str) -> bool:
    owner = Owner.read({name.removeprefix(OWNER): each for name, each in labels.items() if name.startswith(OWNER)})
    # A run that was retried bears the process of its earlier attempt, until the new one writes itself onto it.
    earlier = state == "PENDING" or int(labels.get(ATTEMPT, attempt)) != attempt
    if owner is None or earlier:
        return datetime.now(UTC) - datetime.fromisoformat(since).replace(tzinfo=UTC) > NAMELESS
    return owner.is_dead


def _tasks(connection: sqlite3.Connection, flows: list[str]) -> list[str]:
    rows = connection.execute(f"SELECT id, flow_run_id FROM task_run WHERE state_type IN {OPEN}")  # noqa: S608
    return [str(number) for number, flow in rows if str(flow) in flows]


def _crash(project: Project, flows: list[str], tasks: list[str]) -> None:
    """By the API of the server that runs, or of one for as long as it takes."""
    url = serving_address(project)
    server = start_server(project) if url is None else None
    try:
        base = server.wait() if server else str(url)
        for kind, numbers in (("task_runs", tasks), ("flow_runs", flows)):
            for number in numbers:
                state = {"type": "CRASHED", "name": "Crashed", "message": "The process that ran this is dead."}
                request = urllib.request.Request(  # noqa: S310  # our own server
                    f"{base}/{kind}/{number}/set_state",
                    json.dumps({"state": state, "force": True}).encode(),
                    {"Content-Type": "application/json"},
                )
                with ask(request, 30):
                    pass
    finally:
        if server:
            server.stop()

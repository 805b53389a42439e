"""Check the embedded Prefect database for runs in state Running whose process is dead."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from modelworks.cli.doctor.finding import Finding, ok, repairable
from modelworks.cli.doctor.prefect_runs_internals import FlowRun, unfinished
from modelworks.errors import Unavailable
from modelworks.project import Project
from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.tracking.tags import ATTEMPT, OWNER
from modelworks.servers.prefect_client import serving_address, start_server

__all__ = ["examine"]

WHAT = "Prefect's runs of dead processes"
OWNER_DEADLINE = timedelta(minutes=10)
"""A run first records its process in its labels. One without this label after this time was killed."""


def examine(project: Project) -> Iterator[Finding]:
    """Check the flow runs and their task runs."""
    path = project.prefect_home / "prefect.db"
    if project.prefect_url or not path.exists():
        yield ok(WHAT, f"managed by {project.prefect_url}" if project.prefect_url else "none")
        return
    try:
        stale = [run for run in unfinished(path) if _is_stale(run)]
    except sqlite3.DatabaseError:  # reported by the check of the database
        return
    if not stale:
        yield ok(WHAT, "none")
        return
    tasks = sum(len(run.task_runs) for run in stale)

    def repair() -> str:
        _set_crashed(project, stale)
        return f"{len(stale)} flow runs and {tasks} task runs set to Crashed"

    yield repairable(WHAT, f"{len(stale)} flow runs, {tasks} task runs", repair)


def _is_stale(run: FlowRun) -> bool:
    owner = Owner.read({name.removeprefix(OWNER): each for name, each in run.labels.items() if name.startswith(OWNER)})
    # A retried run has the label of its earlier attempt until the new process records itself.
    earlier = run.state == "PENDING" or int(run.labels.get(ATTEMPT, run.attempt)) != run.attempt
    if owner is None or earlier:
        return datetime.now(UTC) - run.since > OWNER_DEADLINE
    return owner.is_dead


def _set_crashed(project: Project, stale: Sequence[FlowRun]) -> None:
    """Set runs to Crashed through a running Prefect server, or one started for this."""
    url = serving_address(project)
    server = start_server(project) if url is None else None
    try:
        base = server.wait() if server else str(url)
        from httpx import HTTPError
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.objects import State
        from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
        from prefect.states import Crashed

        state: State[None] = Crashed(message="The process that ran this is dead.")
        try:
            settings = {PREFECT_API_URL: base, PREFECT_CLIENT_MAX_RETRIES: 2}
            with temporary_settings(settings), get_client(sync_client=True) as client:
                for run in stale:
                    for task in run.task_runs:
                        client.set_task_run_state(UUID(task), state, force=True)
                    client.set_flow_run_state(UUID(run.id), state, force=True)
        except HTTPError as error:
            raise Unavailable(
                f"Prefect's server {base} fails: {error}",
                "check the server's log and run again",
                code="prefect.failing",
            ) from error
    finally:
        if server:
            server.stop()

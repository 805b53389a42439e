"""Prefect's runs that have the state Running while their process is dead, in the embedded database alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from modelworks.cli.doctor.finding import Finding, sick, well
from modelworks.cli.doctor.prefect_runs_internals import FlowRun, unfinished
from modelworks.errors import Unavailable
from modelworks.project import Project
from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.tracking.tags import ATTEMPT, OWNER
from modelworks.servers.prefect_client import serving_address, start_server

__all__ = ["examine"]

WHAT = "Prefect's runs of dead processes"
NAMELESS = timedelta(minutes=10)
"""A run writes its process onto itself before anything else. One that has not done so after this time was killed."""


def examine(project: Project) -> Iterator[Finding]:
    """The flow runs, and the task runs below them."""
    path = project.prefect_home / "prefect.db"
    if project.prefect_url or not path.exists():
        yield well(WHAT, f"known to {project.prefect_url}" if project.prefect_url else "none")
        return
    try:
        stale = [run for run in unfinished(path) if _is_stale(run)]
    except sqlite3.DatabaseError:  # said of the database itself before
        return
    if not stale:
        yield well(WHAT, "none")
        return
    tasks = sum(len(run.task_runs) for run in stale)

    def remedy() -> str:
        _crash(project, stale)
        return f"{len(stale)} flow runs and {tasks} task runs are Crashed now"

    yield sick(WHAT, f"{len(stale)} flow runs, {tasks} task runs", remedy)


def _is_stale(run: FlowRun) -> bool:
    owner = Owner.read({name.removeprefix(OWNER): each for name, each in run.labels.items() if name.startswith(OWNER)})
    # A run that was retried bears the process of its earlier attempt, until the new one writes itself onto it.
    earlier = run.state == "PENDING" or int(run.labels.get(ATTEMPT, run.attempt)) != run.attempt
    if owner is None or earlier:
        return datetime.now(UTC) - run.since > NAMELESS
    return owner.is_dead


def _crash(project: Project, stale: Sequence[FlowRun]) -> None:
    """By the API of the server that runs, or of one for as long as it takes."""
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
                f"Prefect's server {base} fails: {error}", "see its log, then run again", code="prefect.failing"
            ) from error
    finally:
        if server:
            server.stop()

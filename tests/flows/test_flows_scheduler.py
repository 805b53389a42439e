"""The scheduler's own questions to Prefect's server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from faults.projects import TRANSFORMER
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from flows import scheduler
from flows.schedules import scheduled
from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

PAGE = 3


@pytest.fixture
def client(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """Of a server with small pages."""
    monkeypatch.setenv("PREFECT_SERVER_API_DEFAULT_LIMIT", str(PAGE))
    project.make_private_folders()
    server = start_server(project)
    try:
        with temporary_settings({PREFECT_API_URL: server.wait()}), get_client(sync_client=True) as client:
            yield client
    finally:
        server.stop()


def test_missed_runs_are_dropped_however_many_and_those_that_people_asked_for_stay(
    project: Project, client: SyncPrefectClient
) -> None:
    (project.root / "configs" / "opinions.yaml").write_text(TRANSFORMER + 'schedule: {cron: "* * * * *"}\n')
    (item,) = scheduled(project)
    number = scheduler.deployment(item).apply()
    earlier = datetime.now(UTC) - timedelta(hours=1)
    past = {"start_time": earlier.isoformat(), "min_runs": 3 * PAGE, "max_runs": 3 * PAGE}
    client._client.post(f"/deployments/{number}/schedule", json=past).raise_for_status()  # a backfill; no method has it
    state = Scheduled(scheduled_time=earlier)
    asked = {client.create_flow_run_from_deployment(number, state=state).id for _ in range(PAGE + 1)}
    assert client.count_flow_runs() == 4 * PAGE + 1

    scheduler.skip_missed([item])

    left = [run.id for offset in (0, PAGE, 2 * PAGE) for run in client.read_flow_runs(offset=offset)]
    assert set(left) == asked

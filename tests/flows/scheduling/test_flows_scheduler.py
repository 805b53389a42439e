"""The scheduler deletes overdue runs on the Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from faults.projects import TRANSFORMER
from pipelines.prefect_servers import served_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Scheduled

from flows import scheduler
from flows.schedules import scheduled
from modelworks.project import Project

PAGE = 3


@pytest.fixture
def client(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """Return a client of a server with small result pages."""
    monkeypatch.setenv("PREFECT_SERVER_API_DEFAULT_LIMIT", str(PAGE))
    with served_client(project) as client:
        yield client


@pytest.mark.slow
def test_all_overdue_scheduled_runs_are_deleted_and_manual_runs_are_kept(
    project: Project, client: SyncPrefectClient
) -> None:
    (project.root / "configs" / "opinions.yaml").write_text(TRANSFORMER + 'schedule: {cron: "* * * * *"}\n')
    (item,) = scheduled(project)
    deployment_id = scheduler.deployment(item).apply()
    earlier = datetime.now(UTC) - timedelta(hours=1)
    past = {"start_time": earlier.isoformat(), "min_runs": 3 * PAGE, "max_runs": 3 * PAGE}
    # A backfill, for which the client has no method.
    client._client.post(f"/deployments/{deployment_id}/schedule", json=past).raise_for_status()
    state = Scheduled(scheduled_time=earlier)
    manual = {client.create_flow_run_from_deployment(deployment_id, state=state).id for _ in range(PAGE + 1)}
    assert client.count_flow_runs() == 4 * PAGE + 1

    scheduler.skip_missed([item])

    left = [run.id for offset in (0, PAGE, 2 * PAGE) for run in client.read_flow_runs(offset=offset)]
    assert set(left) == manual

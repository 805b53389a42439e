"""Run each scheduled config when it is due: `python -m flows.scheduler`, behind `modelworks up`.

One run at a time on this machine. A run that is due while the same config is still running is skipped; Prefect shows
it as cancelled. Runs that were due while the scheduler was down are not caught up.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from prefect import serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.schedules import Scheduled, scheduled
from flows.training import training
from modelworks.project import Project

__all__ = ["deployment"]


def deployment(item: Scheduled) -> RunnerDeployment:
    """Return a deployment of the training flow for one config, on its schedule."""
    created = training.to_deployment(
        name=item.config.stem,
        parameters={"config": item.config.as_posix()},
        schedule=Cron(item.schedule.cron, timezone=item.schedule.timezone),
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        tags=["modelworks", item.name],
        # A module, because a file path would put flows/ first on sys.path.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(created, RunnerDeployment)
    return created


def skip_missed(due: Iterable[Scheduled]) -> None:
    """Delete overdue runs that a killed scheduler left, because Prefect would start all of them."""
    names = [item.config.stem for item in due]
    missed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)}),
    )
    with get_client(sync_client=True) as client:
        kept = 0
        while page := client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[training.name])),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=names)),
            flow_run_filter=missed,
            offset=kept,
        ):
            for run in page:
                if run.auto_scheduled:
                    client.delete_flow_run(run.id)
                else:  # a run that a person scheduled
                    kept += 1


def main() -> None:
    """Serve the deployments until the process is stopped."""
    # A config without its data would fail every time; `modelworks up` reports it.
    due = [item for item in scheduled(Project.find()) if not item.missing]
    skip_missed(due)
    serve(*(deployment(item) for item in due), limit=1, print_starting_message=False)


if __name__ == "__main__":
    main()

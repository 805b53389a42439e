"""The scheduler behind `modelworks up`: `python -m flows.scheduler` runs each scheduled config when it is due.

One run at a time on this machine, and none while the same config's last run still goes on: that one is skipped, and
Prefect shows it as cancelled. What was due while the scheduler was down, however it ended, is not caught up.
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
    """The training flow for one config, on its schedule."""
    made = training.to_deployment(
        name=item.config.stem,
        parameters={"config": item.config.as_posix()},
        schedule=Cron(item.schedule.cron, timezone=item.schedule.timezone),
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        tags=["modelworks", item.name],
        # By module: a path would put flows/ in front of every import.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    return made


def skip_missed(due: Iterable[Scheduled]) -> None:
    """Drop the runs that a killed scheduler left behind: Prefect would start every one. A stopped one left none."""
    names = [item.config.stem for item in due]
    missed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)}),
    )
    with get_client(sync_client=True) as client:
        kept = 0
        while left := client.read_flow_runs(  # a page at a time
            flow_filter=FlowFilter(name=FlowFilterName(any_=[training.name])),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=names)),
            flow_run_filter=missed,
            offset=kept,
        ):
            for run in left:
                if run.auto_scheduled:
                    client.delete_flow_run(run.id)
                else:  # what a person asked for is theirs
                    kept += 1


def main() -> None:
    """Serve until told to stop."""
    # A config whose data are missing would fail every time: `modelworks up` names it.
    due = [item for item in scheduled(Project.find()) if not item.missing]
    skip_missed(due)
    serve(*(deployment(item) for item in due), limit=1, print_starting_message=False)


if __name__ == "__main__":
    main()

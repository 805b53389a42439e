"""The MLflow run around the stages, and the artifacts of the Prefect flow run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from modelworks.config.run_config import RunConfig
from modelworks.errors import Interrupted, ModelworksError
from modelworks.pipeline.cache_keys import settings
from modelworks.pipeline.plan import Plan
from modelworks.records import Promotion
from tasks.context import RunContext
from tasks.summary import summarise

__all__ = ["conclude", "track"]


@contextmanager
def track(run: RunContext, plan: Plan, flow_run_id: str) -> Iterator[None]:
    """Open an MLflow run around the stages, unless all of them are up to date."""
    from modelworks.pipeline.status import pipeline_status
    from modelworks.registry.tracking import dataset_input, runs

    current = pipeline_status(run.project, run.config).promotion
    if current is not None:
        run.version_run_id = current.verdict.version.run_id
        yield
        return
    run.run_id = runs.start(
        run.client,
        run.project,
        experiment=run.config.name,
        parameters=_parameters(run.config, plan),
        prefect_flow_run_id=flow_run_id,
        prefect_url=run.project.prefect_page(flow_run_id),
    )
    run.track(runs.log_config, run.config.text)
    run.track(dataset_input.log_dataset, plan.dataset)
    try:
        yield
    except BaseException as error:  # also Ctrl-C, so that no run stays open
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        try:
            run.track(runs.log_stage_keys, {stage.name: stage.key for stage in plan.known})
            runs.finish(run.client, run.run_id, "KILLED" if stopped or not isinstance(error, Exception) else "FAILED")
        except ModelworksError as other:  # report it, and raise the error that ended the run
            run.display.print(f"  {other.message}: the MLflow run was not closed; the next run closes it")
        raise
    run.track(runs.log_stage_keys, {stage.name: stage.key for stage in plan.known})
    runs.finish(run.client, run.run_id, "FINISHED")


def conclude(run: RunContext, promotion: Promotion, flow_run_id: str, seconds: float) -> dict[str, Any]:
    """Return the summary; attach the verdict and a link to MLflow to the flow run."""
    from modelworks.registry.tracking import run_description

    name = run.config.name
    create_markdown_artifact(
        run_description.write(promotion.verdict, promotion.production),
        key=f"{name}-verdict",
        description="The gate's verdict",
    )
    version = promotion.verdict.version
    address = run.project.mlflow_page(version.experiment_id, version.run_id)
    create_link_artifact(
        address,
        link_text=f"{name} version {version.version} in MLflow",
        key=f"{name}-mlflow",
        description="The MLflow run",
    )
    return summarise(promotion, run.outcomes, flow_run_id, seconds)


def _parameters(config: RunConfig, plan: Plan) -> dict[str, str]:
    hardware = {
        "device": plan.hardware.device,
        # The precision that `auto` selects is known with the key of `train`; a tag of the run has it.
        "precision": config.compute.precision,
        "threads": str(plan.hardware.threads),
        "processes": str(plan.hardware.processes),
    }
    # Remove JSON's quotes around strings.
    complete = {**config.values, "compute": {**config.values["compute"], **hardware}}
    return {name: value.strip('"') for name, value in settings(complete).items()}

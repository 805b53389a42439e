"""Train: run the trainer in a child process; show its events and stream them to MLflow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import ModelworksError
from modelworks.pipeline.cache_keys import confirm_sources
from modelworks.pipeline.plan import Plan
from modelworks.pipeline.training_job import training_job, work_folder
from modelworks.records import TrainedModel, ValidationReport
from modelworks.training.launchers.local import launch
from modelworks.training.machine.precision import explained
from modelworks.training.monitoring.events import all_events
from tasks.context import RunContext
from tasks.stage_task import reuse_or_make, stage_task

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.tracking.metric_stream import MetricStream

__all__ = ["train"]


@stage_task("train")
def train(run: RunContext, plan: Plan, report: ValidationReport) -> TrainedModel:
    """Return the trained model; an interrupted training resumes from its last checkpoint."""
    from modelworks.evaluation import evaluate as evaluation
    from modelworks.registry.tracking.runs import log_training, system_metrics

    live, stage = False, plan.stage("train")

    def make(temporary: Path, final: Path) -> TrainedModel:
        nonlocal live
        live = True
        confirm_sources(stage.ingredients)  # the trainer imports its modules now; later edits have no effect
        # The trainer imports its libraries on one core; meanwhile this process imports those of the next stage.
        threading.Thread(target=evaluation.preload, daemon=True).start()
        with system_metrics(run.client, run.run_id), _curves(run) as add:
            return launch(training_job(plan, report), report, temporary, final, add, run.take_trainer())

    def log(client: MlflowClient, run_id: str, trained: TrainedModel) -> None:
        log_training(client, run_id, trained)
        if not live:  # a reused training: copy its curves to this MLflow run
            with _stream(run) as stream:
                for event in all_events(trained.folder / "events.jsonl"):
                    stream.add(event)

    return reuse_or_make(
        run,
        stage,
        TrainedModel,
        make,
        attach=lambda trained: replace(trained, report=report),
        log=log,
        describe=_describe,
        work=work_folder(plan),
    )


def _describe(trained: TrainedModel) -> str:
    reason = explained(trained.precision_source, trained.product_rates)
    return (
        f"{trained.num_parameters:,} parameters, {trained.num_steps:,} steps in {trained.seconds:.1f} s "
        f"({trained.examples_per_second:,.0f} examples/s, {trained.device} {trained.precision}"
        f"{'; ' + reason if reason else ''})"
    )


@contextmanager
def _curves(run: RunContext) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that sends a trainer event to the display, and to MLflow in batches."""
    with _stream(run) as stream:

        def add(event: Mapping[str, Any]) -> None:
            run.display.training(event)
            stream.add(event)
            run.stop_if_cancelled()
            if event["type"] == "done":
                run.start_isolated_model()  # in advance, for a promotion
            if event["type"] == "start" and event["resumed_from"]:
                run.outcomes["train"] = "resumed"

        yield add


@contextmanager
def _stream(run: RunContext) -> Iterator[MetricStream]:
    """Open a stream of events to MLflow.

    Errors of MLflow are shown and do not stop the training.
    """
    from modelworks.registry.tracking.metric_stream import MetricStream

    stream = MetricStream(run.client, run.run_id)
    try:
        yield stream
    finally:
        try:
            stream.close()
        except ModelworksError as error:
            run.display.print(f"  {error.message}: the curves in MLflow are incomplete; events.jsonl is complete")

"""Train: the trainer program in a child process; its events become the progress bar and MLflow's live curves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelworks.errors import Unavailable
from modelworks.models.checkpoints import locate
from modelworks.plan import Plan
from modelworks.records import TrainedModel, ValidationReport
from modelworks.training.job import Job
from modelworks.training.launch import launch
from tasks.policy import reuse_or_make, stage_task
from tasks.run import Run

__all__ = ["train"]


@stage_task("train")
def train(run: Run, plan: Plan, report: ValidationReport) -> TrainedModel:
    """The trained model; a training that was cut off goes on from its last checkpoint."""
    from modelworks.registry.runs import log_training

    def make(aside: Path, final: Path) -> TrainedModel:
        with _curves(run) as add:
            return launch(_job(run, plan, report), report, aside, final, add)

    trained = reuse_or_make(
        run,
        plan.train,
        TrainedModel,
        make,
        lambda trained: (
            f"{trained.num_parameters:,} parameters, {trained.num_steps:,} steps in {trained.seconds:.1f} s "
            f"({trained.examples_per_second:,.0f} examples/s, {trained.device} {trained.precision})"
        ),
    )
    run.track(log_training, trained)
    return trained


def _job(run: Run, plan: Plan, report: ValidationReport) -> Job:
    config, project = run.config, run.project
    return Job(
        key=plan.train.key,
        dataset=report.dataset.folder,
        splits=report.folder / "splits.npy",
        classes=report.dataset.classes,
        decoded=project.state,
        decoded_key=plan.decoded_key,
        checkpoint=locate(config.model, project.root),
        model=config.model,
        train=config.train,
        hardware=plan.hardware,
        work=project.state / "training" / plan.train.key,
        parent=os.getpid(),
    )


@contextmanager
def _curves(run: Run) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Where events go: the display at once, MLflow in batches; a tracking outage never stops the training."""
    from modelworks.registry.curves import MetricStream
    from modelworks.registry.runs import system_metrics

    stream = MetricStream(run.client, run.run_id)

    def add(event: Mapping[str, Any]) -> None:
        if event["type"] == "start" and event["resumed_from"]:
            run.outcomes["train"] = "resumed"
        run.display.training(event)
        stream.add(event)

    with system_metrics(run.client, run.run_id):
        yield add
    try:
        stream.close()
    except Unavailable as error:
        run.display.say(f"  {error.message}: the curves in MLflow are incomplete, events.jsonl is whole")

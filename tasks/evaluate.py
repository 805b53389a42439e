"""Evaluate: the test rows scored once, with intervals, and a report to look at."""

from __future__ import annotations

from pathlib import Path

from modelworks.pipeline.plan import Stage
from modelworks.records import Evaluation, TrainedModel
from tasks.context import RunContext
from tasks.stage_task import reuse_or_make, same_ground, stage_task

__all__ = ["evaluate"]


@stage_task("evaluate")
def evaluate(run: RunContext, stage: Stage, trained: TrainedModel) -> Evaluation:
    """What the model is worth on rows it has never seen."""
    from modelworks.evaluation.evaluate import evaluate as library
    from modelworks.registry.tracking.runs import log_evaluation

    run.call_witness()  # for a training that was done before

    def make(aside: Path, final: Path) -> Evaluation:
        with same_ground(stage, trained.report.dataset):
            return library(trained, run.config.evaluate, aside, final, stage.key)

    judged_by = dict.fromkeys([*run.config.gate.minimums, run.config.gate.compare])
    return reuse_or_make(
        run,
        stage,
        Evaluation,
        make,
        log=log_evaluation,
        describe=lambda found: ", ".join(f"{name} {found.metrics[name]}" for name in judged_by),
    )

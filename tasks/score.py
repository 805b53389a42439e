"""Score: the test rows scored once, with intervals, and a page to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelworks.pipeline.plan import Plan
from modelworks.records import Evaluation, TrainedModel
from tasks.context import RunContext
from tasks.reports import show
from tasks.stage_task import reuse_or_make, same_ground, stage_task

__all__ = ["score"]


@stage_task("score")
def score(run: RunContext, plan: Plan, trained: TrainedModel) -> Evaluation:
    """What the model is worth on rows it has never seen."""
    from modelworks.evaluation.evaluate import evaluate as library
    from modelworks.evaluation.reports import evaluation_report
    from modelworks.registry.tracking.runs import log_evaluation

    stage = plan.stage("score")
    run.call_witness()  # for a training that was done before

    def make(aside: Path, final: Path) -> Evaluation:
        with same_ground(run, stage, trained.report.dataset):
            return library(trained, run.config.evaluate, aside, final, stage.key)

    gate = run.config.gate
    compared = gate.compare or next(iter(run.config.objective.metrics))
    judged_by = dict.fromkeys([*gate.minimums, *gate.maximums, compared])
    return reuse_or_make(
        run,
        stage,
        Evaluation,
        make,
        attach=lambda found: replace(found, trained=trained),
        log=log_evaluation,
        describe=lambda found: ", ".join(f"{name} {found.metrics[name]}" for name in judged_by),
        show=lambda found: show(
            run, plan, "evaluation_page", lambda folder: evaluation_report.render(found, run.config.evaluate, folder)
        ),
    )

"""Score: predict the test rows once, compute metrics with intervals, and render a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelworks.pipeline.plan import Plan
from modelworks.records import Evaluation, TrainedModel
from tasks.context import RunContext
from tasks.reports import show
from tasks.stage_task import reuse_or_make, stage_task, unchanged_inputs

__all__ = ["score"]


@stage_task("score")
def score(run: RunContext, plan: Plan, trained: TrainedModel) -> Evaluation:
    """Return the evaluation of the model on the test rows."""
    from modelworks.evaluation.evaluate import evaluate as library
    from modelworks.evaluation.reports import evaluation_report
    from modelworks.registry.tracking.runs import log_evaluation

    stage = plan.stage("score")
    run.start_isolated_model()  # if the training did not run and start it

    def make(temporary: Path, final: Path) -> Evaluation:
        with unchanged_inputs(run, stage, trained.report.dataset):
            return library(trained, run.config.evaluate, temporary, final, stage.key)

    gate = run.config.gate
    compared = gate.compare or next(iter(run.config.objective.metrics))
    gate_metrics = dict.fromkeys([*gate.minimums, *gate.maximums, compared])
    return reuse_or_make(
        run,
        stage,
        Evaluation,
        make,
        attach=lambda found: replace(found, trained=trained),
        log=log_evaluation,
        describe=lambda found: ", ".join(f"{name} {found.metrics[name]}" for name in gate_metrics),
        show=lambda found: show(
            run, plan, "evaluation_page", lambda folder: evaluation_report.render(found, run.config.evaluate, folder)
        ),
    )

"""Validate: Great Expectations judges the rows before anything learns from them."""

from __future__ import annotations

from modelworks.plan import Stage
from modelworks.records import DatasetVersion, ValidationReport
from tasks.policy import reuse_or_make, stage_task
from tasks.run import Run

__all__ = ["validate"]


@stage_task("validate")
def validate(run: Run, stage: Stage, dataset: DatasetVersion) -> ValidationReport:
    """The report on the data; a failed check stops the run."""
    from modelworks.registry.runs import log_validation
    from modelworks.validation import stage as library

    report = reuse_or_make(
        run,
        stage,
        ValidationReport,
        lambda aside, final: library.validate(
            dataset, run.config.split, run.config.checks, key=stage.key, folder=final, aside=aside
        ),
        lambda report: f"{len(report.checks)} checks passed, {report.quarantined:,} rows quarantined",
    )
    run.track(log_validation, report)
    return report

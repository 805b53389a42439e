"""Validate: Great Expectations judges the rows before anything learns from them."""

from __future__ import annotations

from pathlib import Path

from modelworks.plan import Stage
from modelworks.records import DatasetVersion, ValidationReport
from tasks.policy import reuse_or_make, same_ground, stage_task
from tasks.run import Run

__all__ = ["validate"]


@stage_task("validate")
def validate(run: Run, stage: Stage, dataset: DatasetVersion) -> ValidationReport:
    """The report on the data; a failed check stops the run."""
    from modelworks.registry.runs import log_validation
    from modelworks.validation import stage as library

    config = run.config

    def make(aside: Path, final: Path) -> ValidationReport:
        with same_ground(stage, dataset):
            return library.validate(dataset, config.split, config.checks, key=stage.key, folder=final, aside=aside)

    return reuse_or_make(
        run,
        stage,
        ValidationReport,
        make,
        log=log_validation,
        describe=_describe,
    )


def _describe(report: ValidationReport) -> str:
    passed = sum(check.passed for check in report.checks)
    left_out = f", {report.quarantined:,} rows left out" if report.quarantined else ""
    warnings = f", {len(report.warnings)} warnings" if report.warnings else ""
    return f"{passed} of {len(report.checks)} checks passed{left_out}{warnings}"

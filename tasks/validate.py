"""Validate: Great Expectations judges the rows before anything learns from them."""

from __future__ import annotations

from pathlib import Path

from modelworks.pipeline.plan import Stage
from modelworks.records import DatasetVersion, ValidationReport
from tasks.context import RunContext
from tasks.stage_task import reuse_or_make, same_ground, stage_task

__all__ = ["validate"]


@stage_task("validate")
def validate(run: RunContext, stage: Stage, dataset: DatasetVersion) -> ValidationReport:
    """The report on the data; a failed check stops the run."""
    from modelworks.registry.tracking.runs import log_validation
    from modelworks.validation import validate as library

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

"""Validate: check the rows with Great Expectations before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelworks.pipeline.plan import Plan
from modelworks.records import DatasetVersion, ValidationReport
from tasks.context import RunContext
from tasks.reports import show
from tasks.stage_task import reuse_or_make, stage_task, unchanged_inputs

__all__ = ["validate"]


@stage_task("validate")
def validate(run: RunContext, plan: Plan, dataset: DatasetVersion) -> ValidationReport:
    """Return the report on the data; a failed check stops the run."""
    from modelworks.registry.tracking.runs import log_validation
    from modelworks.validation import validate as library
    from modelworks.validation.data_docs import write_data_docs

    config, stage = run.config, plan.stage("validate")

    def make(temporary: Path, final: Path) -> ValidationReport:
        with unchanged_inputs(run, stage, dataset):
            return library.validate(
                dataset,
                config.objective.kind,
                config.split,
                config.checks,
                key=stage.key,
                folder=final,
                temporary=temporary,
            )

    return reuse_or_make(
        run,
        stage,
        ValidationReport,
        make,
        attach=lambda report: replace(report, dataset=dataset),
        log=log_validation,
        describe=_describe,
        show=lambda report: show(run, plan, "data_docs", lambda folder: write_data_docs(folder, report)),
    )


def _describe(report: ValidationReport) -> str:
    passed = sum(check.passed for check in report.checks)
    left_out = f", {report.quarantined:,} rows left out" if report.quarantined else ""
    warnings = f", {len(report.warnings)} warnings" if report.warnings else ""
    return f"{passed} of {len(report.checks)} checks passed{left_out}{warnings}"

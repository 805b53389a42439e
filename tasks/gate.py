"""Gate: compare the candidate with its minimums and with production on the same test rows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.pipeline.plan import Plan
from modelworks.pipeline.reports import find_report
from modelworks.pipeline.stage import Stage
from modelworks.records import ModelVersion, Verdict
from tasks.context import RunContext
from tasks.reports import reporting_failures
from tasks.stage_task import cached, stage_task, unchanged_inputs

if TYPE_CHECKING:
    from modelworks.evaluation.gate.decision import GateResult

__all__ = ["gate"]


@stage_task("gate")
def gate(run: RunContext, plan: Plan, version: ModelVersion) -> Verdict:
    """Return the verdict on a version.

    Compute it once per key and store it in the registry with its evidence.
    """
    from modelworks.pipeline.status import recorded_verdict, verdict_is_current
    from modelworks.registry.tracking import gate_artifacts
    from modelworks.registry.versions import queries, registration

    started, stage, page = time.monotonic(), plan.stage("gate"), find_report(plan, "gate_page")
    assert page is not None
    run.pages.append(page)
    known = queries.get(run.client, version.name, version.version)
    production = queries.production(run.client, version.name)
    if verdict_is_current(known, stage.key, production):
        verdict = recorded_verdict(known, version, stage.key)
        if known.gate_page != page.key:
            _render_again(run, stage, page, verdict)
        return cached(run, "gate", verdict, started, verdict.decision)
    with run.display.working("gate"), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = _decide(run, stage, version, production)
        _write_details(folder, result)
        rendered = _render(run, folder, result)
        # Before the verdict, so that a recorded verdict always has its evidence.
        gate_artifacts.log(run.client, version.run_id, folder)
        registration.record_verdict(run.client, result.verdict, page.key if rendered else "")
    run.finished("gate", "ran", time.monotonic() - started, result.verdict.decision)
    return result.verdict


def _decide(run: RunContext, stage: Stage, version: ModelVersion, production: int) -> GateResult:
    """Compare a version with a production version, 0 for none.

    Return the verdict and the page's content.
    """
    from modelworks.evaluation.gate.decision import decide
    from modelworks.evaluation.gate.production_baseline import score_baseline
    from modelworks.registry.verification import verify_version

    with unchanged_inputs(run, stage, version.evaluation.trained.report.dataset):
        baseline = None
        if production and production != version.version:
            saved = verify_version.model_folder(run.client, run.project, version.name, production)
            baseline = score_baseline(production, saved, version.evaluation)
        return decide(version, run.config.gate, baseline, stage.key)


def _write_details(folder: Path, result: GateResult) -> None:
    from modelworks.evaluation.reports import gate_report

    gate_report.write_details(folder, result)


def _render(run: RunContext, folder: Path, result: GateResult) -> bool:
    """Write the page to a folder; show a message and return False if that fails."""
    from modelworks.evaluation.reports import gate_report

    with reporting_failures(run, "gate_page"):
        gate_report.render(folder, result, run.config.gate.confidence)
        return True
    return False


def _render_again(run: RunContext, stage: Stage, page: Stage, verdict: Verdict) -> None:
    """Render the page of a recorded verdict and replace the earlier page."""
    from modelworks.registry.tracking import gate_artifacts
    from modelworks.registry.versions import registration

    with reporting_failures(run, "gate_page"), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = _decide(run, stage, verdict.version, verdict.baseline)
        _write_details(folder, result)
        if _render(run, folder, result):
            gate_artifacts.log(run.client, verdict.version.run_id, folder)
            registration.record_page(run.client, verdict.version, page.key)

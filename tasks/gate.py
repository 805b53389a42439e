"""Gate: the candidate against its minimums and against production, on the same test rows."""

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
from tasks.reports import naming_failures
from tasks.stage_task import cached, same_ground, stage_task

if TYPE_CHECKING:
    from modelworks.evaluation.gate.decision import GateResult

__all__ = ["gate"]


@stage_task("gate")
def gate(run: RunContext, plan: Plan, version: ModelVersion) -> Verdict:
    """The verdict on a version, given once per gate and kept in the registry with what it was found from."""
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
        judgement = _judge(run, stage, version, production)
        _write_details(folder, judgement)
        rendered = _render(run, folder, judgement)
        # Before the verdict itself: where that stands, what it was found from stands.
        gate_artifacts.log(run.client, version.run_id, folder)
        registration.record_verdict(run.client, judgement.verdict, page.key if rendered else "")
    run.finished("gate", "ran", time.monotonic() - started, judgement.verdict.decision)
    return judgement.verdict


def _judge(run: RunContext, stage: Stage, version: ModelVersion, production: int) -> GateResult:
    """The verdict against a production version, 0 for none, and all that the page shows."""
    from modelworks.evaluation.gate.decision import decide
    from modelworks.evaluation.gate.production_baseline import score_baseline
    from modelworks.registry.verification import verify_version

    with same_ground(run, stage, version.evaluation.trained.report.dataset):
        opponent = None
        if production and production != version.version:
            saved = verify_version.model_folder(run.client, run.project, version.name, production)
            opponent = score_baseline(production, saved, version.evaluation)
        return decide(version, run.config.gate, opponent, stage.key)


def _write_details(folder: Path, judgement: GateResult) -> None:
    from modelworks.evaluation.reports import gate_report

    gate_report.write_details(folder, judgement)


def _render(run: RunContext, folder: Path, judgement: GateResult) -> bool:
    """Write the page into a folder; False, with a word to the user, when it could not be."""
    from modelworks.evaluation.reports import gate_report

    with naming_failures(run, "gate_page"):
        gate_report.render(folder, judgement, run.config.gate.confidence)
        return True
    return False


def _render_again(run: RunContext, stage: Stage, page: Stage, verdict: Verdict) -> None:
    """Render the page of a verdict that stands, and put it in place of the earlier one."""
    from modelworks.registry.tracking import gate_artifacts
    from modelworks.registry.versions import registration

    with naming_failures(run, "gate_page"), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judgement = _judge(run, stage, verdict.version, verdict.opponent)
        _write_details(folder, judgement)
        if _render(run, folder, judgement):
            gate_artifacts.log(run.client, verdict.version.run_id, folder)
            registration.record_page(run.client, verdict.version, page.key)

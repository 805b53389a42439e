"""Gate: the candidate against its minimums and against production, on the same test rows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from modelworks.pipeline.plan import Stage
from modelworks.records import ModelVersion, Verdict
from tasks.context import RunContext
from tasks.stage_task import cached, same_ground, stage_task

__all__ = ["gate"]


@stage_task("gate")
def gate(run: RunContext, stage: Stage, version: ModelVersion) -> Verdict:
    """The verdict on a version, given once per gate and kept in the registry with what it was found from."""
    from modelworks.evaluation.gate.decision import decide
    from modelworks.evaluation.gate.production_baseline import score_baseline
    from modelworks.evaluation.reports import gate_report
    from modelworks.pipeline.status import recorded_verdict, verdict_stands
    from modelworks.registry.tracking import gate_artifacts
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import queries, registration

    started = time.monotonic()
    known = queries.get(run.client, version.name, version.version)
    production = queries.production(run.client, version.name)
    if verdict_stands(known, stage.key, production):
        verdict = recorded_verdict(known, version, stage.key)
        return cached(run, "gate", verdict, started, verdict.decision)
    with run.display.working("gate"), tempfile.TemporaryDirectory() as folder:
        with same_ground(stage, version.evaluation.trained.report.dataset):
            opponent = None
            if production and production != version.version:
                saved = verify_version.model_folder(run.client, run.project, version.name, production)
                opponent = score_baseline(production, saved, version.evaluation)
            judgement = decide(version, run.config.gate, opponent, stage.key)
            gate_report.write(Path(folder), judgement, run.config.gate.confidence)
        # Before the verdict itself: where that stands, its report stands.
        gate_artifacts.log(run.client, version.run_id, Path(folder))
        registration.record_verdict(run.client, judgement.verdict)
    run.finished("gate", "ran", time.monotonic() - started, judgement.verdict.decision)
    return judgement.verdict

"""Gate: the candidate against its minimums and against production, on the same test rows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from modelworks.plan import Stage
from modelworks.records import ModelVersion, Verdict
from tasks.policy import cached, same_ground, stage_task
from tasks.run import Run

__all__ = ["gate"]


@stage_task("gate")
def gate(run: Run, stage: Stage, version: ModelVersion) -> Verdict:
    """The verdict on a version, given once per gate and kept in the registry with what it was found from."""
    from modelworks.current import recorded_verdict, verdict_stands
    from modelworks.evaluation import verdict_report
    from modelworks.evaluation.gate import decide
    from modelworks.evaluation.opponent import score_opponent
    from modelworks.registry import proof, registration, verdicts, versions

    started = time.monotonic()
    known = versions.get(run.client, version.name, version.version)
    production = versions.production(run.client, version.name)
    if verdict_stands(known, stage.key, production):
        verdict = recorded_verdict(known, version, stage.key)
        return cached(run, "gate", verdict, started, verdict.decision)
    with run.display.working("gate"), tempfile.TemporaryDirectory() as folder:
        with same_ground(stage, version.evaluation.trained.report.dataset):
            opponent = None
            if production and production != version.version:
                saved = proof.model_folder(run.client, run.project, version.name, production)
                opponent = score_opponent(production, saved, version.evaluation)
            judgement = decide(version, run.config.gate, opponent, stage.key)
            verdict_report.write(Path(folder), judgement, run.config.gate.confidence)
        # Before the verdict itself: where that stands, its report stands.
        verdicts.log(run.client, version.run_id, Path(folder))
        registration.record_verdict(run.client, judgement.verdict)
    run.finished("gate", "ran", time.monotonic() - started, judgement.verdict.decision)
    return judgement.verdict

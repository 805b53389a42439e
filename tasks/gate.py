"""Gate: the candidate against its minimums and against production, on the same test rows."""

from __future__ import annotations

import time

from modelworks.plan import Stage
from modelworks.records import ModelVersion, Verdict
from tasks.policy import cached, stage_task
from tasks.run import Run

__all__ = ["gate"]


@stage_task("gate")
def gate(run: Run, stage: Stage, version: ModelVersion) -> Verdict:
    """The verdict on a version, given once per gate and kept in the registry."""
    from modelworks.current import recorded_verdict, verdict_stands
    from modelworks.evaluation.gate import decide
    from modelworks.evaluation.opponent import score_opponent
    from modelworks.registry import proof, registration, versions

    started = time.monotonic()
    known = versions.get(run.client, version.name, version.version)
    production = versions.production(run.client, version.name)
    if verdict_stands(known, stage.key, production):
        verdict = recorded_verdict(known, version, stage.key)
        return cached(run, "gate", verdict, started, verdict.decision)
    with run.display.working("gate"):
        opponent = None
        if production and production != version.version:
            folder = proof.model_folder(run.client, run.project, version.name, production)
            opponent = score_opponent(production, folder, version.evaluation)
        verdict = decide(version, run.config.gate, run.config.evaluate, opponent, stage.key)
        registration.record_verdict(run.client, verdict)
    run.finished("gate", "ran", time.monotonic() - started, verdict.decision)
    return verdict

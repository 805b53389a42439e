"""Promote: make an accepted version production, unless production changed since the verdict."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING

from modelworks.records import Promotion, Verdict
from modelworks.registry.locks.machine import choose_lock, warning
from tasks.context import RunContext
from tasks.stage_task import cached, stage_task

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["promote"]


@stage_task("promote")
def promote(run: RunContext, verdict: Verdict) -> Promotion:
    """Return production after this run; each verdict is applied once."""
    from modelworks.registry.production import alias_drift
    from modelworks.registry.production import promotion as production
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import queries, registration

    started = time.monotonic()
    version = verdict.version
    lock = choose_lock(run.project)
    production.settle(run.client, run.project, version.name, lock=lock)
    stray = alias_drift.find_alias_drift(run.client, version.name)
    if stray is not None:
        run.display.print(f"warning: {stray.message}. {stray.hint}")
    known = queries.get(run.client, version.name, version.version)
    if verdict.decision != "promote" or known.promoted_by == verdict.key:
        promotion = Promotion(verdict=verdict, moved=False, production=queries.production(run.client, version.name))
        run.track(_note, promotion)
        if run.outcomes["gate"] == "cached":
            return cached(run, "promote", promotion, started, _detail(promotion))
        run.finished("promote", "ran", time.monotonic() - started, _detail(promotion))
        return promotion
    if flaw := warning(run.project, lock):
        run.display.print(f"warning: {flaw}")
    with run.display.working("promote"), run.take_isolated_model() as isolated_model:
        production.promote(
            run.client,
            run.project,
            version.name,
            version.version,
            expected=verdict.baseline,
            reason="the gate's verdict",
            who=f"modelworks run, {getpass.getuser()}",
            evidence={"verdict": list(verdict.reasons), "run": version.run_id},
            lock=lock,
            proof=lambda client, chosen: verify_version.prove(client, chosen, isolated_model),
        )
        registration.record_promotion(run.client, verdict)
    promotion = Promotion(verdict=verdict, moved=True, production=version.version)
    run.track(_note, promotion)
    run.finished("promote", "ran", time.monotonic() - started, f"{_detail(promotion)}, under {lock.kind}")
    return promotion


def _note(client: MlflowClient, run_id: str, promotion: Promotion) -> None:
    from modelworks.registry.tracking.runs import log_note

    log_note(client, run_id, promotion.verdict, promotion.production)


def _detail(promotion: Promotion) -> str:
    if promotion.production == 0:
        return "production: none"
    return f"production: version {promotion.production}" + ("" if promotion.moved else " (unchanged)")

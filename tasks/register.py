"""Register: the evaluated model becomes a version in MLflow, once per pipeline key."""

from __future__ import annotations

import time

from modelworks.plan import Plan
from modelworks.rebuild.observe import observe
from modelworks.records import Evaluation, ModelVersion
from modelworks.stages import confirm_sources
from tasks.lock import choose_lock
from tasks.policy import cached, stage_task
from tasks.run import Run

__all__ = ["register"]


@stage_task("register")
def register(run: Run, plan: Plan, evaluation: Evaluation) -> ModelVersion:
    """The version; the one that is there already when this key was registered before."""
    from modelworks.registry import registration, versions

    started = time.monotonic()
    name, key = run.config.name, plan.register.key
    known = versions.find(run.client, name, key)
    confirm_sources(plan.register.ingredients)  # all of which is imported by now
    with run.display.working("register"):
        version = registration.register(
            run.client,
            run.project,
            evaluation,
            making=observe(run.project, run.config, plan, evaluation.trained.report.dataset),
            name=name,
            key=key,
            run_id=run.run_id,
            lock=choose_lock(run.project),
        )
    detail = f"{name} version {version.version}"
    if known is not None:
        return cached(run, "register", version, started, detail)
    run.finished("register", "ran", time.monotonic() - started, detail)
    return version

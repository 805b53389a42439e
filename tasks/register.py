"""Register: create an MLflow model version, once per model and predictions."""

from __future__ import annotations

import time

from modelworks.pipeline.cache_keys import confirm_sources
from modelworks.pipeline.plan import Plan
from modelworks.records import Evaluation, ModelVersion
from modelworks.reproduce.capture import observe
from tasks.context import RunContext
from tasks.stage_task import cached, stage_task

__all__ = ["register"]


@stage_task("register")
def register(run: RunContext, plan: Plan, evaluation: Evaluation) -> ModelVersion:
    """Return the version; the existing one if this key was registered before."""
    from modelworks.registry.versions import queries, registration

    started = time.monotonic()
    stage = plan.stage("register")
    name, key = run.config.name, stage.key
    known = queries.find(run.client, name, key)
    confirm_sources(stage.ingredients)  # all modules are imported by now
    with run.display.working("register"):
        version = registration.register(
            run.client,
            run.project,
            evaluation,
            provenance=observe(plan),
            name=name,
            key=key,
            run_id=run.run_id,
        )
    detail = f"{name} version {version.version}"
    if known is not None:
        return cached(run, "register", version, started, detail)
    run.finished("register", "ran", time.monotonic() - started, detail)
    return version

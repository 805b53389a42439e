"""Register: the evaluated model becomes a version in MLflow, once per pipeline key."""

from __future__ import annotations

import time

from modelworks.plan import Stage
from modelworks.records import Evaluation, ModelVersion
from tasks.policy import cached, stage_task
from tasks.run import Run

__all__ = ["register"]


@stage_task("register")
def register(run: Run, stage: Stage, evaluation: Evaluation) -> ModelVersion:
    """The version; the one that is there already when this key was registered before."""
    from modelworks.registry import registration, versions

    started = time.monotonic()
    name = run.config.name
    known = versions.find(run.client, name, stage.key)
    with run.display.working("register"):
        version = registration.register(
            run.client, run.project, evaluation, name=name, key=stage.key, run_id=run.run_id
        )
    detail = f"{name} version {version.version}"
    if known is not None:
        return cached(run, "register", version, started, detail)
    run.finished("register", "ran", time.monotonic() - started, detail)
    return version

"""The policy every stage shares: retried when a retry may help, tracked, and not done twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed

from modelworks.errors import Unavailable
from modelworks.faults import fault_point
from modelworks.plan import Stage
from modelworks.records import from_json, to_json
from modelworks.store import StageStore, damage, write_json
from tasks.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["cached", "reuse_or_make", "stage_task"]

P = ParamSpec("P")
R = TypeVar("R")

RECORD = "record.json"


def stage_task(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A Prefect task for a stage: retries with backoff and jitter, for what a retry may mend, and JSON results.

    Prefect's own cache stays off: the stage store knows what was done, verifies it, and works without a server.
    """
    policy = task(
        name=name,
        tags=["modelworks"],
        retries=2,
        retry_delay_seconds=[1, 5],
        retry_jitter_factor=0.5,
        retry_condition_fn=_may_help,
        persist_result=True,
        result_serializer="json",
        cache_policy=NO_CACHE,
    )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        staged = policy(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            fault_point("stage.before", name)
            found = staged(*args, **kwargs)
            fault_point("stage.after", name)
            # What `cached` returned comes back as Prefect's state around the record.
            return cast(R, found.result()) if isinstance(found, State) else found

        return call

    return decorate


def reuse_or_make(
    run: Run,
    stage: Stage,
    kind: type[R],
    make: Callable[[Path, Path], R],
    *,
    log: Callable[[MlflowClient, str, R], None],
    describe: Callable[[R], str],
) -> R:
    """The stage's stored record if its output is intact, else a new one; logged onto the MLflow run either way.

    Args:
        run: the run at hand.
        stage: its name, key and ingredients.
        kind: of the record.
        make: does the work, given a folder to write into and the name it will have; returns the record.
        log: puts the record onto the MLflow run.
        describe: the record in a few words, for the display.
    """
    started = time.monotonic()
    store, root = StageStore(run.project.stages), run.project.root
    final = store.folder(stage.name, stage.key)
    state = store.state(stage.name, stage.key)
    if state == "intact":
        record = from_json(kind, json.loads((final / RECORD).read_text()), root)
        run.track(log, record)
        return cached(run, stage.name, record, started, describe(record))
    if state == "damaged":
        run.display.say(
            f"  {stage.name}: the stored output is not used, {damage(final) or 'it is of another key'}: it is made again"
        )
    with run.display.working(stage.name), store.write(stage.name, stage.key, stage.ingredients) as aside:
        record = make(aside, final)
        write_json(aside / RECORD, to_json(record, root))
    run.track(log, record)
    run.finished(stage.name, run.outcomes.get(stage.name, "ran"), time.monotonic() - started, describe(record))
    return record


def cached(run: Run, name: str, record: R, started: float, detail: str) -> R:
    """Say that a stage had nothing to do. Prefect shows the state and hands the record on as the task's result."""
    run.finished(name, "cached", time.monotonic() - started, detail)
    return cast(R, Completed(name="Cached", message="same key, output intact", data=record))


def _may_help(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), Unavailable)

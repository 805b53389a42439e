"""The policy that all stages share: retry if it may help, track, and reuse stored outputs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed

from modelworks.data import dataset_format
from modelworks.errors import Overtaken, Unavailable
from modelworks.fault_injection import fault_point
from modelworks.files.atomic_files import write_json
from modelworks.files.locks import locked
from modelworks.files.manifests import damage
from modelworks.pipeline.cache_keys import confirm_sources
from modelworks.pipeline.change_guard import confirmed
from modelworks.pipeline.plan import RECORD
from modelworks.pipeline.stage import Stage
from modelworks.pipeline.stage_store import StageStore
from modelworks.record_json import from_json, to_json
from modelworks.records import DatasetVersion
from tasks.context import RunContext

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["cached", "reuse_or_make", "stage_task", "unchanged_inputs"]

P = ParamSpec("P")
R = TypeVar("R")


def stage_task(
    name: str,
) -> Callable[[Callable[Concatenate[RunContext, P], R]], Callable[Concatenate[RunContext, P], R]]:
    """Return a decorator for the Prefect task of a stage, with retries and JSON results.

    Prefect's cache is off: the stage store verifies its outputs and works without a server.
    """
    policy = task(
        name=name,
        retries=2,
        retry_delay_seconds=[1, 5],
        retry_jitter_factor=0.5,
        retry_condition_fn=_may_help,
        persist_result=True,
        result_serializer="json",
        cache_policy=NO_CACHE,
    )

    def decorate(function: Callable[Concatenate[RunContext, P], R]) -> Callable[Concatenate[RunContext, P], R]:
        staged = policy(function)

        @wraps(function)
        def call(run: RunContext, /, *args: P.args, **kwargs: P.kwargs) -> R:
            run.stop_if_cancelled()
            fault_point("stage.before", name)
            found = staged(run, *args, **kwargs)
            fault_point("stage.after", name)
            # Prefect returns a state around the record if the task returned `cached(...)`.
            return cast(R, found.result()) if isinstance(found, State) else found

        return call

    return decorate


def reuse_or_make(
    run: RunContext,
    stage: Stage,
    kind: type[R],
    make: Callable[[Path, Path], R],
    *,
    log: Callable[[MlflowClient, str, R], None],
    describe: Callable[[R], str],
    attach: Callable[[R], R] = lambda record: record,
    show: Callable[[R], None] = lambda record: None,
    work: Path | None = None,
) -> R:
    """Return the stage's stored record, or make a new one if its output is missing or damaged.

    Log it to MLflow.

    If several pipelines need the same output at once, one makes it and the others wait.

    Args:
        run: the current run.
        stage: the stage's name, key and ingredients.
        kind: the class of the record.
        make: given a temporary directory to write to and its final path, does the work and returns the record.
        log: logs the record to the MLflow run.
        describe: returns a short description of the record for the display.
        attach: replaces the earlier stages' records inside a stored record with those of this run, which have the same
            content.
        show: renders the page beside the stage.
        work: the folder that `make` resumes from after an interruption; deleted once the output is stored.
    """
    started = time.monotonic()
    store, root = StageStore(run.project.stages), run.project.root
    final = store.folder(stage.name, stage.key)
    with _stage_lock(run, stage):
        state = store.state(stage.name, stage.key)
        if state == "damaged":
            flaw = damage(final) or "its key differs"
            run.display.print(f"  {stage.name}: the stored output is damaged ({flaw}): it is computed again")
        if state != "intact":
            with run.display.working(stage.name), store.write(stage.name, stage.key, stage.ingredients) as temporary:
                write_json(temporary / RECORD, to_json(make(temporary, final), root))
            run.outcomes.setdefault(stage.name, "ran")  # before the steps below, which may raise and be retried
        record = attach(from_json(kind, json.loads((final / RECORD).read_text()), root))
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    run.track(log, record)
    show(record)
    if stage.name not in run.outcomes:
        return cached(run, stage.name, record, started, describe(record))
    run.finished(stage.name, run.outcomes[stage.name], time.monotonic() - started, describe(record))
    return record


def cached(run: RunContext, name: str, record: R, started: float, detail: str) -> R:
    """Show that a stage was up to date.

    Return a Prefect state Completed with the name Cached and the record.
    """
    run.finished(name, "cached", time.monotonic() - started, detail)
    return cast(R, Completed(name="Cached", message="same key, output intact", data=record))


def unchanged_inputs(run: RunContext, stage: Stage, dataset: DatasetVersion) -> AbstractContextManager[None]:
    """Check after a block that the data and the code are still those of the stage's key.

    Raises:
        BadInput: code was edited during the run.
        Overtaken: the data set changed during the run.
    """
    return confirmed(
        lambda: confirm_sources(stage.ingredients),
        lambda: dataset_format.confirm(dataset.folder, dataset.digest, run.project.memo),
    )


def _stage_lock(run: RunContext, stage: Stage) -> AbstractContextManager[None]:
    """Hold the lock on a stage's output, so that no other process makes it at the same time."""
    return locked(
        run.project.locks / f"{stage.name}-{stage.key}.lock",
        "doing the same",
        seconds=-1,  # no timeout: a training may take long, and a dead process releases the lock
        waiting=lambda message: run.display.print(f"  {stage.name}: {message}: waiting for its result"),
    )


def _may_help(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, Unavailable) and not isinstance(error, Overtaken)

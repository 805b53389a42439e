"""The policy every stage shares: retried when a retry may help, tracked, and not done twice."""

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

__all__ = ["cached", "reuse_or_make", "same_ground", "stage_task"]

P = ParamSpec("P")
R = TypeVar("R")


def stage_task(
    name: str,
) -> Callable[[Callable[Concatenate[RunContext, P], R]], Callable[Concatenate[RunContext, P], R]]:
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

    def decorate(function: Callable[Concatenate[RunContext, P], R]) -> Callable[Concatenate[RunContext, P], R]:
        staged = policy(function)

        @wraps(function)
        def call(run: RunContext, /, *args: P.args, **kwargs: P.kwargs) -> R:
            run.stop_if_cancelled()
            fault_point("stage.before", name)
            found = staged(run, *args, **kwargs)
            fault_point("stage.after", name)
            # What `cached` returned comes back as Prefect's state around the record.
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
    """The stage's stored record if its output is intact, else a new one; logged onto the MLflow run either way.

    Pipelines may have a stage in common: of those that come to it at once, one makes it and the others wait.

    Args:
        run: the run at hand.
        stage: its name, key and ingredients.
        kind: of the record.
        make: does the work, given a folder to write into and the name it will have; returns the record.
        log: puts the record onto the MLflow run.
        describe: the record in a few words, for the display.
        attach: puts the records of this run's earlier stages into a stored record: it may have been made from others
            of the same content.
        show: renders the page beside the stage.
        work: what `make` keeps to go on from when it is cut off; deleted once its output has its name.
    """
    started = time.monotonic()
    store, root = StageStore(run.project.stages), run.project.root
    final = store.folder(stage.name, stage.key)
    with _alone(run, stage):
        state = store.state(stage.name, stage.key)
        if state == "damaged":
            flaw = damage(final) or "it is of another key"
            run.display.say(f"  {stage.name}: the stored output is not used, {flaw}: it is made again")
        if state != "intact":
            with run.display.working(stage.name), store.write(stage.name, stage.key, stage.ingredients) as aside:
                write_json(aside / RECORD, to_json(make(aside, final), root))
            run.outcomes.setdefault(stage.name, "ran")  # before what may have to be tried again
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
    """Say that a stage had nothing to do. Prefect shows the state and hands the record on as the task's result."""
    run.finished(name, "cached", time.monotonic() - started, detail)
    return cast(R, Completed(name="Cached", message="same key, output intact", data=record))


def same_ground(run: RunContext, stage: Stage, dataset: DatasetVersion) -> AbstractContextManager[None]:
    """What a block reads and imports is the data and the code that the stage's key tells of, or the run ends there.

    Raises:
        BadInput: code was edited since the run began.
        Overtaken: the data set is another by now.
    """
    return confirmed(
        lambda: confirm_sources(stage.ingredients),
        lambda: dataset_format.confirm(dataset.folder, dataset.digest, run.project.memo),
    )


def _alone(run: RunContext, stage: Stage) -> AbstractContextManager[None]:
    """No other process makes this output, or works where it is made, as long as the block lasts."""
    return locked(
        run.project.locks / f"{stage.name}-{stage.key}.lock",
        "doing the same",
        seconds=-1,  # as long as a training takes; whoever dies frees it
        waiting=lambda said: run.display.say(f"  {stage.name}: {said}: waiting for its result"),
    )


def _may_help(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, Unavailable) and not isinstance(error, Overtaken)

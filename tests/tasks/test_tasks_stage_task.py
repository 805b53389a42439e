"""A stage that several pipelines share is made once, and its outcome survives a retry."""

# ruff: noqa: F811  # imported fixtures are used as arguments

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from registry.conftest import _quiet, empty_store, project  # noqa: F401  # fixtures
from samples.runs import CONFIG, DATASET

from modelworks.errors import Interrupted, Unavailable
from modelworks.pipeline.stage import Stage
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project
from modelworks.records import DatasetVersion
from modelworks.registry.backend import tracking_store
from tasks.context import RunContext
from tasks.display import PlainDisplay
from tasks.stage_task import reuse_or_make

if TYPE_CHECKING:
    from mlflow import MlflowClient

STAGE = Stage(name="train", key="0123456789abcdef", ingredients={"train.epochs": "8"})
HOLDER = """
import sys
from pathlib import Path
from modelworks.files.locks import locked

with locked(Path(sys.argv[1]), "doing the same"):
    print("held", flush=True)
    sys.stdin.read()
"""


class CallbackDisplay(PlainDisplay):
    """A display that passes its lines to a function."""

    def __init__(self, callback: Callable[[str], None]) -> None:
        super().__init__()
        self.callback = callback

    def print(self, text: str) -> None:
        self.callback(text)


def run_stage(
    run: RunContext,
    make: Callable[[Path, Path], DatasetVersion] = lambda temporary, final: DATASET,
    log: Callable[[MlflowClient, str, DatasetVersion], None] = lambda client, run_id, record: None,
    work: Path | None = None,
) -> None:
    """Run a stage as its task does."""
    reuse_or_make(run, STAGE, DatasetVersion, make, log=log, describe=lambda record: record.name, work=work)


def test_one_of_two_pipelines_makes_a_shared_stage_and_the_other_reuses_it(project: Project, tmp_path: Path) -> None:
    client, work = tracking_store.connect(project), tmp_path / "work"
    making, waiting = threading.Event(), threading.Event()
    lines: list[str] = []
    made: list[Path] = []

    def make(temporary: Path, final: Path) -> DatasetVersion:
        made.append(temporary)
        work.mkdir()
        making.set()
        assert waiting.wait(60)
        assert work.is_dir(), "the waiting pipeline deleted it"
        return DATASET

    def callback(text: str) -> None:
        lines.append(text)
        waiting.set()

    first = RunContext(project, CONFIG, client, PlainDisplay())
    second = RunContext(project, replace(CONFIG, name="other"), client, CallbackDisplay(callback))
    thread = threading.Thread(target=run_stage, args=(first, make), kwargs={"work": work})
    thread.start()
    assert making.wait(60)
    run_stage(second, make, work=work)
    thread.join()
    assert len(made) == 1
    assert (first.outcomes, second.outcomes) == ({"train": "ran"}, {"train": "cached"})
    assert f"pid {os.getpid()} on " in lines[0]
    assert StageStore(project.stages).state("train", STAGE.key) == "intact"
    assert not work.exists()


def lock_holder(project: Project) -> subprocess.Popen[str]:
    """Start a process that holds the lock of the stage."""
    command = [sys.executable, "-c", HOLDER, str(project.locks / f"train-{STAGE.key}.lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_waiting_pipeline_makes_the_stage_after_the_lock_holder_is_killed(project: Project) -> None:
    with lock_holder(project) as holder:
        display = CallbackDisplay(lambda text: holder.kill())
        run = RunContext(project, CONFIG, tracking_store.connect(project), display)
        run_stage(run)
    assert run.outcomes == {"train": "ran"}


def test_signal_ends_the_wait_for_another_process(project: Project) -> None:
    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    def callback(text: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # after the wait begins

    run = RunContext(project, CONFIG, tracking_store.connect(project), CallbackDisplay(callback))
    before = signal.signal(signal.SIGALRM, interrupt)
    with lock_holder(project) as holder:
        try:
            with pytest.raises(Interrupted):
                run_stage(run)
            assert holder.poll() is None
        finally:
            holder.kill()
            signal.signal(signal.SIGALRM, before)
    assert run.outcomes == {}


def test_outcome_is_ran_if_only_the_tracking_is_retried(project: Project) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    run.run_id = "there is one"
    errors = iter([Unavailable("the server is down"), None])

    def log(client: MlflowClient, run_id: str, record: DatasetVersion) -> None:
        if (error := next(errors)) is not None:
            raise error

    with pytest.raises(Unavailable):
        run_stage(run, log=log)
    run_stage(run, log=log)
    assert run.outcomes == {"train": "ran"}

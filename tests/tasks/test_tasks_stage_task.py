"""What several pipelines have in common is made once, and what was made stays told as made."""

# ruff: noqa: F811  # fixtures are imported, and then asked for by name

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
from runs import CONFIG, DATASET

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


class Listening(PlainDisplay):
    """A display that passes on what it says."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self.hear = hear

    def say(self, text: str) -> None:
        self.hear(text)


def pass_stage(
    run: RunContext,
    make: Callable[[Path, Path], DatasetVersion] = lambda aside, final: DATASET,
    log: Callable[[MlflowClient, str, DatasetVersion], None] = lambda client, run_id, record: None,
    work: Path | None = None,
) -> None:
    """Bring a stage behind a run, as its task does."""
    reuse_or_make(run, STAGE, DatasetVersion, make, log=log, describe=lambda record: record.name, work=work)


def test_of_two_pipelines_that_come_to_the_same_stage_at_once_one_makes_it_and_the_other_takes_it(
    project: Project, tmp_path: Path
) -> None:
    client, work = tracking_store.connect(project), tmp_path / "work"
    at_work, somebody_waits, said, made = threading.Event(), threading.Event(), [], []

    def make(aside: Path, final: Path) -> DatasetVersion:
        made.append(aside)
        work.mkdir()
        at_work.set()
        assert somebody_waits.wait(60)
        assert work.is_dir(), "the other one has deleted it"
        return DATASET

    def hear(text: str) -> None:
        said.append(text)
        somebody_waits.set()

    first = RunContext(project, CONFIG, client, PlainDisplay())
    second = RunContext(project, replace(CONFIG, name="other"), client, Listening(hear))
    maker = threading.Thread(target=pass_stage, args=(first, make), kwargs={"work": work})
    maker.start()
    assert at_work.wait(60)
    pass_stage(second, make, work=work)
    maker.join()
    assert len(made) == 1
    assert (first.outcomes, second.outcomes) == ({"train": "ran"}, {"train": "cached"})
    assert f"another process is doing the same already: pid {os.getpid()} on " in said[0]
    assert StageStore(project.stages).state("train", STAGE.key) == "intact"
    assert not work.exists()


def held(project: Project) -> subprocess.Popen[str]:
    """Another process at the stage."""
    command = [sys.executable, "-c", HOLDER, str(project.locks / f"train-{STAGE.key}.lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_what_a_killed_process_did_not_finish_is_made_by_the_one_that_waited(project: Project) -> None:
    with held(project) as holder:
        run = RunContext(project, CONFIG, tracking_store.connect(project), Listening(lambda said: holder.kill()))
        pass_stage(run)
    assert run.outcomes == {"train": "ran"}


def test_a_signal_ends_the_wait_for_another_process(project: Project) -> None:
    def give_up(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    def hear(text: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # once it waits

    run = RunContext(project, CONFIG, tracking_store.connect(project), Listening(hear))
    before = signal.signal(signal.SIGALRM, give_up)
    with held(project) as holder:
        try:
            with pytest.raises(Interrupted):
                pass_stage(run)
            assert holder.poll() is None
        finally:
            holder.kill()
            signal.signal(signal.SIGALRM, before)
    assert run.outcomes == {}


def test_a_stage_that_ran_is_told_so_when_only_its_tracking_is_tried_again(project: Project) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    run.run_id = "there is one"
    answers = iter([Unavailable("the server is away"), None])

    def log(client: MlflowClient, run_id: str, record: DatasetVersion) -> None:
        if (answer := next(answers)) is not None:
            raise answer

    with pytest.raises(Unavailable):
        pass_stage(run, log=log)
    pass_stage(run, log=log)
    assert run.outcomes == {"train": "ran"}

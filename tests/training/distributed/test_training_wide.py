"""Distributed trainings give the weights of a single process, also after kills and signals."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples.trainings import events
from training.distributed.wide_trainings import Event, max_difference, run, signalled, trainers, weights

from modelworks.errors import BadInput, Interrupted, Unavailable
from modelworks.objectives.config import Classification
from modelworks.training.job import Job


@pytest.fixture(scope="module")
def two_with_dropout(images: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of an uninterrupted training of the images with dropout in two processes."""
    return run(images(tmp_path_factory.mktemp("two") / "work", 2, dropout=0.2))[0]


def test_two_processes_give_the_weights_of_one(
    images: Callable[..., Job], one: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder, recorded = run(images(tmp_path / "work", 2))
    assert max_difference(folder, one[0]) < 1e-4
    epochs, expected = ([event for event in each if event["type"] == "epoch"] for each in (recorded, one[1]))
    for found, wanted in zip(epochs, expected, strict=True):
        assert found["step"] == wanted["step"]
        assert found["validation_loss"] == pytest.approx(wanted["validation_loss"], abs=1e-4)
        assert found["validation_log_loss"] == pytest.approx(found["validation_loss"], abs=1e-4)
        assert found["validation_accuracy"] == pytest.approx(wanted["validation_accuracy"], abs=0.03)
    assert recorded[-1]["examples_per_second"] > 0
    assert {path.name for path in folder.iterdir()} == {"model", "events.jsonl", "log.txt"}


@pytest.mark.slow
def test_accumulation_weights_and_clipping_are_the_same_in_two_processes(
    texts: Callable[..., Job], tmp_path: Path
) -> None:
    settings = {"accumulate": 3, "clip_norm": 0.5, "epochs": 2}
    balanced = Classification(kind="classification", class_weights="balanced")
    jobs = [texts(tmp_path / f"work{number}", number, **settings) for number in (1, 2)]
    alone, together = (run(dataclasses.replace(job, objective=balanced))[0] for job in jobs)
    assert max_difference(alone, together) < 1e-4


@pytest.mark.slow
def test_torchrun_gives_the_same_weights(images: Callable[..., Job], two_with_dropout: Path, tmp_path: Path) -> None:
    job = dataclasses.replace(images(tmp_path / "work", 2, dropout=0.2), parent=0)
    job.work.mkdir()
    job.write(tmp_path / "job.json")
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "modelworks.training"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", *command, str(tmp_path / "job.json")], check=True, env=environment)
    assert weights(job.work) == weights(two_with_dropout)


@pytest.mark.slow
def test_killed_rank_ends_all_and_a_resume_gives_the_same_bits(
    images: Callable[..., Job], two_with_dropout: Path, tmp_path: Path
) -> None:
    job = images(tmp_path / "work", 2, dropout=0.2, checkpoint_steps=9)
    with pytest.raises(Unavailable) as caught:
        run(job, signalled(signal.SIGKILL, 1, at="checkpoint"))
    assert caught.value.code == "training.killed"
    assert trainers() == []
    folder, recorded = run(job)
    assert recorded[0]["resumed_from"] > 0
    assert weights(folder) == weights(two_with_dropout)


@pytest.mark.slow
def test_one_process_resumes_from_a_checkpoint_of_two(
    images: Callable[..., Job], one: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        run(images(tmp_path / "work", 2, checkpoint_steps=9), signalled(signal.SIGKILL, 0, at="checkpoint"))
    folder, recorded = run(images(tmp_path / "work", 1))
    assert recorded[0]["resumed_from"] > 0
    assert max_difference(folder, one[0]) < 1e-4


@pytest.mark.slow
def test_sigterm_to_one_rank_stops_both_with_one_checkpoint(images: Callable[..., Job], tmp_path: Path) -> None:
    job = images(tmp_path / "work", 2, epochs=1000, keep="last")
    with pytest.raises(Interrupted) as caught:
        run(job, signalled(signal.SIGTERM, 1, at="step"))
    assert caught.value.exit_code == 143
    assert trainers() == []
    recorded = events(job.work)
    assert [event["type"] for event in recorded[-2:]] == ["checkpoint", "failed"]
    assert [each.name for each in (job.work / "checkpoints").iterdir()] == [f"step-{recorded[-2]['step']}"]


@pytest.mark.slow
def test_failure_on_one_rank_is_reported(images: Callable[..., Job], tmp_path: Path) -> None:
    job = images(tmp_path / "work", 2)
    job.work.mkdir()
    (job.work / "checkpoints").write_text("a file, so that rank 0 fails")
    with pytest.raises(BadInput) as caught:
        run(job)
    assert caught.value.code == "disk.path-taken"


PARENT = """
import dataclasses, os, sys
from pathlib import Path
import psutil
from modelworks.training.job import Job
from modelworks.training.launchers.local import launch

job = dataclasses.replace(Job.read(Path(sys.argv[1])), parent=os.getpid())

def on_event(event):
    if event["type"] == "step":
        print(*(child.pid for child in psutil.Process().children()), flush=True)

launch(job, None, Path(sys.argv[2]), Path(sys.argv[2]), on_event)
"""


@pytest.mark.slow
def test_all_processes_exit_with_their_parent(images: Callable[..., Job], tmp_path: Path) -> None:
    job = images(tmp_path / "work", 2, epochs=1000)
    job.work.mkdir()
    job.write(tmp_path / "job.json")
    command = [sys.executable, "-c", PARENT, str(tmp_path / "job.json"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [os.pidfd_open(int(each)) for each in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
        for child in children:
            poll = select.poll()
            poll.register(child, select.POLLIN)
            assert poll.poll(30_000), "a trainer is still running"
            os.close(child)

"""A trainer ends with its parent, and its failures are reported."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from training.launchers.local_trainings import Event, run, trainers

import modelworks
from modelworks.data import dataset_format
from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.errors import BadInput, ModelworksError, Refused
from modelworks.models import serialization
from modelworks.training.job import Job


def test_interrupted_parent_stops_the_trainer_with_a_checkpoint(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work")

    def interrupt(event: Event) -> None:
        if event["type"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, interrupt)
    assert trainers() == []
    assert len(list((job.work / "checkpoints").glob("step-*"))) == 1


def test_diverged_training_is_refused_without_a_model(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", learning_rate=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(Refused, match=r"(nan|inf) at step \d") as caught:
        run(job)
    assert caught.value.code == "training.diverged"
    assert "learning_rate" in caught.value.hint
    assert not (job.work / "model").exists()
    assert list((job.work / "checkpoints").glob("step-*")) == []


def test_file_in_place_of_the_checkpoint_folder_is_bad_input(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", checkpoint_seconds=1e-3)
    job.work.mkdir()
    (job.work / "checkpoints").write_text("a file")
    with pytest.raises(BadInput) as caught:
        run(job)
    assert caught.value.code == "disk.path-taken"


def test_bug_in_the_trainer_names_its_log(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work")
    missing = Job(**{**vars(job), "splits": tmp_path / "nowhere.npy"})
    with pytest.raises(ModelworksError, match="exit code 1") as caught:
        run(missing)
    assert caught.value.code == "training.failed"
    assert str(job.work / "log.txt") in str(caught.value)
    assert "nowhere.npy" in (job.work / "log.txt").read_text()


PARENT = """
import dataclasses, os, sys
from pathlib import Path
import psutil
from modelworks.training.job import Job
from modelworks.training.launchers.local import launch

job = dataclasses.replace(Job.read(Path(sys.argv[1])), parent=os.getpid())

def on_event(event):
    if event["type"] == "step":
        print(psutil.Process().children()[0].pid, flush=True)

launch(job, None, Path(sys.argv[2]), Path(sys.argv[2]), on_event)
"""


def test_trainer_exits_with_its_parent(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", epochs=1000)
    job.work.mkdir()
    job.write(tmp_path / "job.json")
    command = [sys.executable, "-c", PARENT, str(tmp_path / "job.json"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        poll = select.poll()
        poll.register(child, select.POLLIN)
        assert poll.poll(30_000), "the trainer is still running"
        os.close(child)
    assert len(list((job.work / "checkpoints").glob("step-*"))) == 1, "it wrote no checkpoint"


def test_trainer_waits_for_the_lock_of_an_earlier_trainer(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", epochs=1)
    job.work.mkdir()
    earlier, check = os.open(job.work, os.O_RDONLY), os.open(job.work, os.O_RDONLY)
    fcntl.flock(earlier, fcntl.LOCK_EX)
    recorded: list[tuple[str, bool]] = []
    waiting = threading.Thread(target=run, args=(job, lambda event: recorded.append((event["type"], is_locked(check)))))
    waiting.start()
    while not recorded and not any(has_open(child, job.work) for child in trainers()):
        waiting.join(0.02)
        assert waiting.is_alive()
    assert recorded == []
    os.close(earlier)
    waiting.join()
    assert recorded[0] == ("start", True)
    assert recorded[-1][0] == "done"
    os.close(check)


def is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def has_open(process: psutil.Process, path: Path) -> bool:
    """Return whether a process has a folder open."""
    try:
        return any(each.resolve() == path for each in Path(f"/proc/{process.pid}/fd").iterdir())
    except FileNotFoundError:  # it exited, or closed one of them
        return False


def test_saved_code_is_that_of_the_start_of_the_training(
    make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(modelworks.__file__).parent
    copy = shutil.copytree(package, tmp_path / "modelworks", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = {
        "code/models/cnn.py": "models/cnn.py",
        "code/modalities/image.py": "modalities/image.py",
        "code/objectives/classification.py": "objectives/classification.py",
        "saved.py": "models/saved_model.py",
    }

    def edit(event: Event) -> None:
        if event["type"] == "start":
            for name in code.values():
                (copy / name).write_text("raise RuntimeError('edited')")

    _, folder = run(make_job(tmp_path / "work"), edit)
    for name, source in code.items():
        assert (folder / "model" / name).read_bytes() == (package / source).read_bytes()


def test_saved_model_has_the_trainers_validation_accuracy(uninterrupted: Path, digits: Path) -> None:
    table = dataset_format.read(digits)
    rows = np.flatnonzero(np.load(digits / "splits.npy") == VALIDATION)
    model = serialization.load(uninterrupted / "model")
    contents = table["image"].take(rows).to_pylist()
    truth = model.objective.encode({"label": table["label"].take(rows).to_pylist()})
    found = model.predict(contents)
    assert (found["predicted"] == truth["label"]).mean() > 0.9
    assert found["probabilities"].sum(1) == pytest.approx(1, abs=1e-5)


def test_saved_model_has_the_training_row_ids(uninterrupted: Path, digits: Path) -> None:
    ids = dataset_format.read(digits, ["id"])["id"].to_pylist()
    train = np.load(digits / "splits.npy") == TRAIN
    expected = sorted(int(each[:16], 16) for each, kept in zip(ids, train, strict=True) if kept)
    assert np.load(uninterrupted / "model" / "training_ids.npy").tolist() == expected

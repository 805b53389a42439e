"""The trainer program: repeatable to the bit, killed and resumed, stopped and diverged."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from datasets import labelled

import modelworks
from modelworks.data import dataset_format
from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.errors import BadInput, Interrupted, Refused, Unavailable
from modelworks.models import serialization
from modelworks.pipeline.stage_store import StageStore
from modelworks.records import DatasetVersion, TrainedModel, ValidationReport
from modelworks.training.job import Job
from modelworks.training.launchers.local import Trainer, launch

Event = dict[str, Any]


def report(job: Job) -> ValidationReport:
    dataset = DatasetVersion(
        name="digits",
        folder=job.dataset,
        digest="",
        features=labelled("image", [str(digit) for digit in range(10)]),
        rows=1797,
        source={},
        licence="",
    )
    return ValidationReport(dataset=dataset, key="", folder=job.dataset, checks=(), quarantined=0, warnings=(), rows={})


def run(
    job: Job, on_event: Callable[[Event], None] = lambda event: None, trainer: Trainer | None = None
) -> tuple[TrainedModel, Path]:
    """Launch a job; the record and the folder of its output."""
    folder = job.work.with_name(f"{job.work.name}-out")
    folder.mkdir(exist_ok=True)
    return launch(job, report(job), folder, folder, on_event, trainer), folder


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def trainers() -> list[psutil.Process]:
    """The trainers among this process's children; other tests may keep a server in the same process."""
    return [each for each in psutil.Process().children() if "modelworks.training" in each.cmdline()]


def signalled(number: int, at: str) -> Callable[[Event], None]:
    """Send the trainer a signal at its first event of a kind."""
    sent: list[int] = []

    def on_event(event: Event) -> None:
        if event["type"] == at and not sent:
            (child,) = trainers()
            sent.append(child.pid)
            child.send_signal(number)

    return on_event


@pytest.fixture(scope="module")
def undisturbed(make_job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing interrupted."""
    return run(make_job(tmp_path_factory.mktemp("undisturbed") / "work"))[1]


def test_a_model_that_finds_no_room_for_its_name_is_made_again_from_the_last_checkpoint(
    make_job: Callable[..., Job], tmp_path: Path, undisturbed: Path
) -> None:
    job, store = make_job(tmp_path / "work", checkpoint_steps=30), StageStore(tmp_path / "stages")
    events: list[Event] = []

    def make(manifest: Path) -> None:
        with store.write("train", job.key, {}) as aside:
            launch(job, report(job), aside, aside, events.append)
            manifest.write_text("named")

    with pytest.raises(Unavailable, match="no space left"):
        make(Path("/dev/full"))
    assert store.state("train", job.key) == "absent"
    make(tmp_path / "manifest")
    first, second = (event["resumed_from"] for event in events if event["type"] == "start")
    assert first == 0
    assert second >= 30
    assert weights(store.folder("train", job.key)) == weights(undisturbed)


def test_the_record_tells_what_was_trained_and_the_work_folder_is_left_to_the_caller(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work", epochs=2)
    events: list[Event] = []
    trained, folder = run(job, events.append)
    rows = int((np.load(job.splits) == TRAIN).sum())
    steps = 2 * -(-rows // 32)
    assert (trained.num_steps, trained.device, trained.precision, trained.threads) == (steps, "cpu", "fp32", 1)
    assert trained.key == job.key
    assert trained.model_folder == folder / "model"
    assert {path.name for path in job.work.iterdir()} <= {"checkpoints", "job.json"}
    assert {path.name for path in folder.iterdir()} == {"model", "events.jsonl", "log.txt"}
    assert [event["type"] for event in events if event["type"] in ("start", "epoch", "done")] == [
        "start",
        *["epoch"] * 2,
        "done",
    ]
    assert events[0]["resumed_from"] == 0
    assert events[0]["parameters"] == trained.num_parameters
    epochs = [event for event in events if event["type"] == "epoch"]
    assert epochs[-1]["validation_accuracy"] > 0.8
    assert epochs[-1]["validation_loss"] < epochs[0]["validation_loss"]


def test_the_same_job_gives_the_same_bits(make_job: Callable[..., Job], undisturbed: Path, tmp_path: Path) -> None:
    assert weights(run(make_job(tmp_path / "work"))[1]) == weights(undisturbed)


def test_a_trainer_that_was_started_before_there_was_a_job_trains_the_same(
    make_job: Callable[..., Job], undisturbed: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work")
    trainer = Trainer(job.hardware)
    (process,) = trainers()
    _, folder = run(job, trainer=trainer)
    assert weights(folder) == weights(undisturbed)
    assert trainer.process.pid == process.pid
    assert trainers() == []


def test_a_trainer_that_gets_no_job_ends_with_whom_it_waits_for(make_job: Callable[..., Job], tmp_path: Path) -> None:
    trainer = Trainer(make_job(tmp_path / "work").hardware)
    assert trainer.process.stdin is not None
    trainer.process.stdin.close()  # as the kernel does when the parent dies
    assert trainer.process.wait(60) == 0
    trainer.close()


def test_what_a_trainer_says_before_it_has_a_job_is_in_the_log(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work")
    trainer = Trainer(job.hardware)
    os.write(trainer.early.fileno(), b"a warning of a library\n")
    _, folder = run(job, trainer=trainer)
    assert "a warning of a library" in (folder / "log.txt").read_text()


def test_a_trainer_that_died_before_it_got_the_job_is_started_anew_by_a_retry(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work")
    trainer = Trainer(job.hardware)
    trainer.process.kill()
    trainer.process.wait()
    with pytest.raises(Unavailable, match="SIGKILL"):
        run(job, trainer=trainer)
    assert run(job)[0].num_steps > 0


def test_kill_9_and_a_resume_end_in_the_same_bits(
    make_job: Callable[..., Job], undisturbed: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work", checkpoint_seconds=0.1)
    with pytest.raises(Unavailable, match=r"killed by SIGKILL .*memory") as caught:
        run(job, signalled(signal.SIGKILL, at="checkpoint"))
    assert "resumes" in caught.value.hint
    with (job.work / "events.jsonl").open("ab") as stream:
        stream.write(b'{"type": "step", "ti')  # what a kill in the middle of a write leaves
    events: list[Event] = []
    _, folder = run(job, events.append)
    assert events[0]["type"] == "start"
    assert events[0]["resumed_from"] > 0
    assert weights(folder) == weights(undisturbed)


def test_sigterm_is_answered_with_a_checkpoint_and_a_resume_ends_in_the_same_bits(
    make_job: Callable[..., Job], undisturbed: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work")
    events: list[Event] = []
    stop = signalled(signal.SIGTERM, at="step")

    def on_event(event: Event) -> None:
        events.append(event)
        stop(event)

    with pytest.raises(Interrupted) as caught:
        run(job, on_event)
    assert caught.value.exit_code == 143
    assert [event["type"] for event in events[-2:]] == ["checkpoint", "failed"]
    reached = events[-2]["step"]
    assert [path.name for path in (job.work / "checkpoints").iterdir()] == [f"step-{reached}"]
    resumed: list[Event] = []
    _, folder = run(job, resumed.append)
    assert resumed[0]["resumed_from"] == reached
    assert weights(folder) == weights(undisturbed)


def test_a_stop_of_the_parent_stops_the_trainer_at_a_checkpoint(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work")

    def interrupt(event: Event) -> None:
        if event["type"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, interrupt)
    assert trainers() == []
    assert len(list((job.work / "checkpoints").glob("step-*"))) == 1


def test_divergence_is_refused_and_leaves_no_model(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", learning_rate=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(Refused, match=r"the loss is (nan|inf) at step") as caught:
        run(job)
    assert "learning_rate" in caught.value.hint
    assert not (job.work / "model").exists()
    assert list((job.work / "checkpoints").glob("step-*")) == []


def test_a_disk_that_is_in_the_way_is_a_clear_error(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work", checkpoint_seconds=1e-3)
    job.work.mkdir()
    (job.work / "checkpoints").write_text("in the way")
    with pytest.raises(BadInput, match="in its way"):
        run(job)


def test_a_bug_of_the_trainer_points_at_its_log(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work")
    missing = Job(**{**vars(job), "splits": tmp_path / "nowhere.npy"})
    with pytest.raises(Exception, match="exit code 1") as caught:
        run(missing)
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


def test_a_trainer_ends_with_its_parent(make_job: Callable[..., Job], tmp_path: Path) -> None:
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
        assert poll.poll(30_000), "the trainer lives on"
        os.close(child)
    assert len(list((job.work / "checkpoints").glob("step-*"))) == 1, "it left without a checkpoint"


def test_a_trainer_waits_for_one_that_a_killed_run_left_in_its_work_folder_and_then_has_it_alone(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work", epochs=1)
    job.work.mkdir()
    left, alone = os.open(job.work, os.O_RDONLY), os.open(job.work, os.O_RDONLY)
    fcntl.flock(left, fcntl.LOCK_EX)
    told: list[tuple[str, bool]] = []
    waiting = threading.Thread(target=run, args=(job, lambda event: told.append((event["type"], is_locked(alone)))))
    waiting.start()
    while not told and not any(has_open(child, job.work) for child in trainers()):
        waiting.join(0.02)
        assert waiting.is_alive()
    assert told == []
    os.close(left)
    waiting.join()
    assert told[0] == ("start", True)
    assert told[-1][0] == "done"
    os.close(alone)


def is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def has_open(process: psutil.Process, path: Path) -> bool:
    """Whether a process has a folder open."""
    try:
        return any(each.resolve() == path for each in Path(f"/proc/{process.pid}/fd").iterdir())
    except FileNotFoundError:  # it has ended, or closed one of them
        return False


def test_the_code_that_is_saved_is_what_was_trained_whatever_happens_to_its_files_meanwhile(
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


def test_the_saved_model_scores_what_the_trainer_saw(undisturbed: Path, digits: Path) -> None:
    table = dataset_format.read(digits)
    rows = np.flatnonzero(np.load(digits / "splits.npy") == VALIDATION)
    model = serialization.load(undisturbed / "model")
    contents = table["image"].take(rows).to_pylist()
    truth = model.objective.encode({"label": table["label"].take(rows).to_pylist()})
    found = model.predict(contents)
    assert (found["predicted"] == truth["label"]).mean() > 0.9
    assert found["probabilities"].sum(1) == pytest.approx(1, abs=1e-5)


def test_the_model_remembers_which_rows_it_was_trained_on(undisturbed: Path, digits: Path) -> None:
    ids = dataset_format.read(digits, ["id"])["id"].to_pylist()
    train = np.load(digits / "splits.npy") == TRAIN
    expected = sorted(int(each[:16], 16) for each, kept in zip(ids, train, strict=True) if kept)
    assert np.load(undisturbed / "model" / "training_ids.npy").tolist() == expected

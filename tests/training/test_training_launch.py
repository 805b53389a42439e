"""The trainer program: reproducible, killed and resumed, stopped and diverged."""

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
from samples.datasets import labelled

import modelworks
from modelworks.data import dataset_format
from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.errors import BadInput, Interrupted, ModelworksError, Refused, Unavailable
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
    """Launch a job and return the record and the output folder."""
    folder = job.work.with_name(f"{job.work.name}-out")
    folder.mkdir(exist_ok=True)
    return launch(job, report(job), folder, folder, on_event, trainer), folder


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def trainers() -> list[psutil.Process]:
    """Return the trainers among this process's children; other tests may have started a server."""
    return [each for each in psutil.Process().children() if "modelworks.training" in each.cmdline()]


def signalled(number: int, at: str) -> Callable[[Event], None]:
    """Return a callback that sends the trainer a signal at its first event of a kind."""
    sent: list[int] = []

    def on_event(event: Event) -> None:
        if event["type"] == at and not sent:
            (child,) = trainers()
            sent.append(child.pid)
            child.send_signal(number)

    return on_event


@pytest.fixture(scope="module")
def uninterrupted(make_job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of an uninterrupted training."""
    return run(make_job(tmp_path_factory.mktemp("uninterrupted") / "work"))[1]


def test_failed_publication_resumes_from_the_last_checkpoint(
    make_job: Callable[..., Job], tmp_path: Path, uninterrupted: Path
) -> None:
    job, store = make_job(tmp_path / "work", checkpoint_steps=30), StageStore(tmp_path / "stages")
    events: list[Event] = []

    def make(manifest: Path) -> None:
        with store.write("train", job.key, {}) as temporary:
            launch(job, report(job), temporary, temporary, events.append)
            manifest.write_text("published")

    with pytest.raises(Unavailable) as caught:
        make(Path("/dev/full"))
    assert caught.value.code == "disk.full"
    assert store.state("train", job.key) == "absent"
    make(tmp_path / "manifest")
    first, second = (event["resumed_from"] for event in events if event["type"] == "start")
    assert first == 0
    assert second >= 30
    assert weights(store.folder("train", job.key)) == weights(uninterrupted)


def test_launch_returns_the_record_and_keeps_the_work_folder(make_job: Callable[..., Job], tmp_path: Path) -> None:
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


def test_same_job_gives_the_same_bits(make_job: Callable[..., Job], uninterrupted: Path, tmp_path: Path) -> None:
    assert weights(run(make_job(tmp_path / "work"))[1]) == weights(uninterrupted)


def test_trainer_started_before_the_job_gives_the_same_bits(
    make_job: Callable[..., Job], uninterrupted: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work")
    trainer = Trainer(job.hardware)
    (process,) = trainers()
    _, folder = run(job, trainer=trainer)
    assert weights(folder) == weights(uninterrupted)
    assert trainer.process.pid == process.pid
    assert trainers() == []


def test_trainer_without_a_job_exits_when_stdin_closes(make_job: Callable[..., Job], tmp_path: Path) -> None:
    trainer = Trainer(make_job(tmp_path / "work").hardware)
    assert trainer.process.stdin is not None
    trainer.process.stdin.close()  # as when the parent dies
    assert trainer.process.wait(60) == 0
    trainer.close()


def test_output_from_before_the_job_is_in_the_log(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work")
    trainer = Trainer(job.hardware)
    os.write(trainer.early_output.fileno(), b"a warning of a library\n")
    _, folder = run(job, trainer=trainer)
    assert "a warning of a library" in (folder / "log.txt").read_text()


def test_retry_starts_a_new_trainer_after_one_died_without_a_job(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(tmp_path / "work")
    trainer = Trainer(job.hardware)
    trainer.process.kill()
    trainer.process.wait()
    with pytest.raises(Unavailable) as caught:
        run(job, trainer=trainer)
    assert caught.value.code == "training.killed"
    assert run(job)[0].num_steps > 0


def test_resume_after_sigkill_gives_the_same_bits(
    make_job: Callable[..., Job], uninterrupted: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path / "work", checkpoint_seconds=0.1)
    with pytest.raises(Unavailable, match=r"SIGKILL .*memory") as caught:
        run(job, signalled(signal.SIGKILL, at="checkpoint"))
    assert caught.value.code == "training.killed"
    assert "resumes" in caught.value.hint
    with (job.work / "events.jsonl").open("ab") as stream:
        stream.write(b'{"type": "step", "ti')  # an incomplete line, as after a kill
    events: list[Event] = []
    _, folder = run(job, events.append)
    assert events[0]["type"] == "start"
    assert events[0]["resumed_from"] > 0
    assert weights(folder) == weights(uninterrupted)


def test_sigterm_writes_a_checkpoint_and_a_resume_gives_the_same_bits(
    make_job: Callable[..., Job], uninterrupted: Path, tmp_path: Path
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
    assert weights(folder) == weights(uninterrupted)


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

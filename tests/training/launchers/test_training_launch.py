"""The trainer program: reproducible, killed and resumed, stopped and diverged."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from training.launchers.local_trainings import Event, report, run, trainers

from modelworks.data.splits import TRAIN
from modelworks.errors import Interrupted, Unavailable
from modelworks.pipeline.stage_store import StageStore
from modelworks.training.job import Job
from modelworks.training.launchers.local import Trainer, launch


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def signalled(number: int, at: str) -> Callable[[Event], None]:
    """Return a callback that sends the trainer a signal at its first event of a kind."""
    sent: list[int] = []

    def on_event(event: Event) -> None:
        if event["type"] == at and not sent:
            (child,) = trainers()
            sent.append(child.pid)
            child.send_signal(number)

    return on_event


@pytest.mark.slow
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


@pytest.mark.slow
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

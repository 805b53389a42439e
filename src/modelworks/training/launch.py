"""The parent's side of a training: start the trainer program, pass on what it tells, read what it left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Corrupt, Interrupted, ModelworksError, Refused, Unavailable
from modelworks.records import TrainedModel, ValidationReport
from modelworks.training.events import EventTail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelworks.training.hardware import Hardware
    from modelworks.training.job import Job

__all__ = ["Trainer", "launch"]

POLL_SECONDS = 0.05
TERM_SECONDS = 30.0
_ERRORS: dict[int, type[ModelworksError]] = {2: BadInput, 3: Refused, 4: Unavailable, 5: Corrupt}


class Trainer:
    """The trainer program as a child process: it imports torch from now on, and trains when it is given a job.

    Made early, it has its imports, which take seconds, behind it when the job comes. It does one job.
    """

    def __init__(self, hardware: Hardware) -> None:
        # What it says before it knows the job's log.
        self.early = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self.process = subprocess.Popen(
            # -P: whatever lies in the current folder shadows no library.
            [sys.executable, "-P", "-m", "modelworks.training"],
            stdin=subprocess.PIPE,
            stdout=self.early,
            stderr=self.early,
            env={**os.environ, **_environment(hardware)},
        )

    def give(self, job: Job) -> None:
        """Let it begin."""
        job.work.mkdir(parents=True, exist_ok=True)
        job.write(job.work / "job.json")
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died early: the caller sees that
            self.process.stdin.write(f"{job.work / 'job.json'}\n".encode())
            self.process.stdin.flush()

    def keep_early_words(self, log: Path) -> None:
        """Append to its log what it said before it had one."""
        self.early.seek(0)
        with log.open("ab") as stream:
            shutil.copyfileobj(self.early, stream)

    def end(self) -> None:
        """Ask for a checkpoint and an end; insist after a while."""
        self.process.terminate()
        try:
            self.process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End the process, if it still runs, at once."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.early):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


def launch(
    job: Job,
    report: ValidationReport,
    folder: Path,
    final: Path,
    on_event: Callable[[dict[str, Any]], None],
    trainer: Trainer | None = None,
) -> TrainedModel:
    """Train in a child process; its output moves into `folder`, which will be called `final`.

    Args:
        on_event: called with each event (see `events.py`) as it appears.
        trainer: one that was started on the job's hardware before and has no job yet.

    Raises:
        Unavailable: the child was killed; another attempt resumes from its last checkpoint.
        Refused: the loss diverged.
        Interrupted: this process was asked to stop; the child has written a checkpoint.
    """
    trainer = trainer or Trainer(job.hardware)
    try:
        return _train(trainer, job, report, folder, final, on_event)
    finally:
        trainer.close()


def _train(
    trainer: Trainer,
    job: Job,
    report: ValidationReport,
    folder: Path,
    final: Path,
    on_event: Callable[[dict[str, Any]], None],
) -> TrainedModel:
    tail = EventTail(job.work / "events.jsonl")
    last: dict[str, Any] = {}
    try:
        trainer.give(job)
        running = True
        while running:
            running = trainer.process.poll() is None
            for event in tail.new():
                last = event
                on_event(event)
            if running:
                time.sleep(POLL_SECONDS)
    except BaseException:
        trainer.end()
        raise
    trainer.keep_early_words(job.work / "log.txt")
    if trainer.process.returncode or last.get("type") != "done":
        raise _failure(trainer.process.returncode, last, job.work)
    for name in ("model", "events.jsonl", "log.txt"):
        (job.work / name).rename(folder / name)
    shutil.rmtree(job.work)
    return TrainedModel(
        report=report,
        key=job.key,
        folder=final,
        num_parameters=last["parameters"],
        num_steps=last["step"],
        seconds=last["seconds"],
        examples_per_second=last["examples_per_second"],
        device=job.hardware.device,
        precision=job.hardware.precision,
        threads=job.hardware.threads,
    )


def _environment(hardware: Hardware) -> dict[str, str]:
    """What must be set before the child's libraries are loaded."""
    return {
        "OMP_NUM_THREADS": str(hardware.threads),
        # Threads that wait for each other within a step look for some microseconds before they sleep: a third faster
        # than sleeping at once, and on a busy machine many times faster than looking for milliseconds, the default.
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "3000"),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it CUDA's sums have no fixed order
    }


def _failure(code: int, last: dict[str, Any], work: Path) -> ModelworksError:
    if last.get("type") == "failed" and code in _ERRORS:
        return _ERRORS[code](last["message"], last["hint"])
    if code in (128 + signal.SIGTERM, -signal.SIGTERM):  # the latter before the trainer could answer it
        return Interrupted(signal.SIGTERM)
    if code < 0:
        name = signal.Signals(-code).name
        memory = " (maybe out of memory)" if -code == signal.SIGKILL else ""
        return Unavailable(
            f"the trainer was killed by {name}{memory}", "run again: it resumes from its last checkpoint"
        )
    if code in _ERRORS:
        return _ERRORS[code](
            f"the trainer could not even write to {work} what is wrong", "free some disk space, run again"
        )
    return ModelworksError(f"the trainer ended with exit code {code}; see {work / 'log.txt'}", "its last lines say why")

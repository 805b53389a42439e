"""The parent's side of a training: start the trainer program, pass on what it tells, read what it left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Corrupt, Interrupted, ModelworksError, Overtaken, Refused, Unavailable
from modelworks.fault_injection import fault_point
from modelworks.records import TrainedModel, ValidationReport
from modelworks.training.hardware import environment
from modelworks.training.job import events_name
from modelworks.training.monitoring.events import EventTail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelworks.training.hardware import Hardware
    from modelworks.training.job import Job

__all__ = ["Trainer", "launch"]

POLL_SECONDS = 0.05
TERM_SECONDS = 30.0
LEFT_BEHIND_SECONDS = 5.0
_ERRORS: dict[int, type[ModelworksError]] = {2: BadInput, 3: Refused, 4: Unavailable, 5: Corrupt}


class Trainer:
    """The trainer program as child processes: they import torch from now on, and train when they are given a job.

    Made early, they have their imports, which take seconds, behind them when the job comes. They do one job. Several
    are started the way torchrun does it; when one fails, the others end.
    """

    def __init__(self, hardware: Hardware) -> None:
        # What they say before they know the job's log.
        self.early = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the processes
        size = 1 if hardware.ray else hardware.processes  # on Ray the child is the one that asks for workers
        common = {**os.environ, **environment(hardware), "TORCHELASTIC_RUN_ID": uuid.uuid4().hex}
        self.processes = [
            subprocess.Popen(
                # -P: whatever lies in the current folder shadows no library.
                [sys.executable, "-P", "-m", "modelworks.training"],
                stdin=subprocess.PIPE,
                stdout=self.early,
                stderr=self.early,
                env={**common, **_place(rank, size)},
            )
            for rank in range(size)
        ]
        self.process = self.processes[0]
        """The one that leads."""
        self.failed: tuple[int, int] | None = None
        """Rank and exit code of the process that failed first."""
        self._deadline = 0.0

    def give(self, job: Job) -> None:
        """Let it begin."""
        job.work.mkdir(parents=True, exist_ok=True)
        for old in job.work.glob("rendezvous-*"):  # where the processes of earlier attempts met
            old.unlink()
        job.write(job.work / "job.json")
        for each in self.processes:
            assert each.stdin is not None
            with suppress(BrokenPipeError):  # it died early: the caller sees that
                each.stdin.write(f"{job.work / 'job.json'}\n".encode())
                each.stdin.flush()

    def is_running(self) -> bool:
        """Whether any process lives. Those that another one's failure leaves behind are killed after some seconds."""
        codes = [each.poll() for each in self.processes]
        if self.failed is None and any(codes):
            self._deadline = time.monotonic() + LEFT_BEHIND_SECONDS
            self.failed = min(((rank, code) for rank, code in enumerate(codes) if code), key=_cause_first)
        if self.failed and time.monotonic() > self._deadline:
            self.kill()
        return None in codes

    def keep_early_words(self, log: Path) -> None:
        """Append to its log what it said before it had one."""
        self.early.seek(0)
        with log.open("ab") as stream:
            shutil.copyfileobj(self.early, stream)

    def end(self) -> None:
        """Ask for a checkpoint and an end; insist after a while."""
        deadline = time.monotonic() + TERM_SECONDS
        for each in self.processes:
            each.terminate()
        with suppress(subprocess.TimeoutExpired):
            for each in self.processes:
                each.wait(max(0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End all processes that still run, at once."""
        for each in self.processes:
            each.kill()
        for each in self.processes:
            each.wait()

    def close(self) -> None:
        """End the processes, if they still run, and let go of what this held for them."""
        self.kill()
        for stream in (self.early, *(each.stdin for each in self.processes)):
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
    """Train in child processes; their output moves into `folder`, which will be called `final`.

    The checkpoints stay in the job's work folder: should `folder` never get its name, because the disk is full, they
    are all there is. Whoever gives it its name deletes them.

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
    tails = [EventTail(job.work / events_name(rank)) for rank in range(len(trainer.processes))]
    last: dict[str, Any] = {}
    try:
        trainer.give(job)
        running = True
        while running:
            running = trainer.is_running()
            for event in tails[0].new():
                last = event
                on_event(event)
            if running:
                time.sleep(POLL_SECONDS)
    except BaseException:  # whatever stops this process, Ctrl-C too, leaves a checkpoint and no child
        trainer.end()
        raise
    trainer.keep_early_words(job.work / "log.txt")
    rank, code = trainer.failed or (0, 0)
    for event in tails[rank].new() if rank else ():
        last = event
    if code or last.get("type") != "done":
        raise _failure(code, last, job.work)
    for name in ("model", "events.jsonl", "log.txt"):
        fault_point("train.before_collect", name)
        (job.work / name).rename(folder / name)
        fault_point("train.after_collect", name)
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
        processes=job.hardware.processes,
        shard=job.hardware.shard,
        precision_source=job.hardware.precision_source,
        product_rates=job.hardware.product_rates,
    )


def _place(rank: int, size: int) -> dict[str, str]:
    """A process's place among its like, in torchrun's words."""
    return {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{size}", "LOCAL_WORLD_SIZE": f"{size}"}


def _cause_first(failure: tuple[int, int]) -> tuple[bool, bool, int]:
    """Order failures that were seen at once: who loses another one fails too, and only says that it lost it."""
    rank, code = failure
    return code > 0, code not in (*_ERRORS, 128 + signal.SIGTERM), rank


def _failure(code: int, last: dict[str, Any], work: Path) -> ModelworksError:
    if last.get("type") == "failed" and code in _ERRORS:
        kind = Overtaken if last["overtaken"] else _ERRORS[code]
        return kind(last["message"], last["hint"], code=last["code"])
    if code in (128 + signal.SIGTERM, -signal.SIGTERM):  # the latter before the trainer could answer it
        return Interrupted(signal.SIGTERM)
    if code < 0:
        name = signal.Signals(-code).name
        memory = " (maybe out of memory)" if -code == signal.SIGKILL else ""
        return Unavailable(
            f"the trainer was killed by {name}{memory}",
            "run again: it resumes from its last checkpoint",
            code="training.killed",
        )
    if code in _ERRORS:
        return _ERRORS[code](
            f"the trainer could not write to {work} why it failed", "free some disk space, run again", code="disk.full"
        )
    return ModelworksError(
        f"the trainer ended with exit code {code}; see {work / 'log.txt'}",
        "its last lines say why",
        code="training.failed",
    )

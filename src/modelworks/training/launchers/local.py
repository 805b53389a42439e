"""Start the trainer program, forward its events and collect its output."""

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
PEER_EXIT_SECONDS = 5.0
_ERRORS: dict[int, type[ModelworksError]] = {2: BadInput, 3: Refused, 4: Unavailable, 5: Corrupt}


class Trainer:
    """The trainer program as child processes, which import torch and wait for a job.

    Started early, they have finished their imports, which take seconds, when the job is known. They run one job.
    Several processes get torchrun's environment variables; when one fails, the others end.
    """

    def __init__(self, hardware: Hardware) -> None:
        # Output from before the job's log file is known.
        self.early_output = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the processes
        size = 1 if hardware.ray else hardware.processes  # with Ray one child starts the workers
        common = {**os.environ, **environment(hardware), "TORCHELASTIC_RUN_ID": uuid.uuid4().hex}
        self.processes = [
            subprocess.Popen(
                # -P: files in the current folder must not shadow a library.
                [sys.executable, "-P", "-m", "modelworks.training"],
                stdin=subprocess.PIPE,
                stdout=self.early_output,
                stderr=self.early_output,
                env={**common, **_rank_variables(rank, size)},
            )
            for rank in range(size)
        ]
        self.process = self.processes[0]
        """The process of rank 0."""
        self.failed: tuple[int, int] | None = None
        """Rank and exit code of the process that failed first."""
        self._deadline = 0.0

    def start(self, job: Job) -> None:
        """Send the job to the processes."""
        job.work.mkdir(parents=True, exist_ok=True)
        for old in job.work.glob("rendezvous-*"):  # files of earlier attempts
            old.unlink()
        job.write(job.work / "job.json")
        for each in self.processes:
            assert each.stdin is not None
            with suppress(BrokenPipeError):  # the process has died, which the caller detects
                each.stdin.write(f"{job.work / 'job.json'}\n".encode())
                each.stdin.flush()

    def is_running(self) -> bool:
        """Return whether any process is running.

        After a failure the other processes are killed within PEER_EXIT_SECONDS.
        """
        codes = [each.poll() for each in self.processes]
        if self.failed is None and any(codes):
            self._deadline = time.monotonic() + PEER_EXIT_SECONDS
            self.failed = min(((rank, code) for rank, code in enumerate(codes) if code), key=_failure_order)
        if self.failed and time.monotonic() > self._deadline:
            self.kill()
        return None in codes

    def append_early_output(self, log: Path) -> None:
        """Append the output from before the job to its log."""
        self.early_output.seek(0)
        with log.open("ab") as stream:
            shutil.copyfileobj(self.early_output, stream)

    def terminate(self) -> None:
        """Send SIGTERM, which writes a checkpoint, and kill the processes after TERM_SECONDS."""
        deadline = time.monotonic() + TERM_SECONDS
        for each in self.processes:
            each.terminate()
        with suppress(subprocess.TimeoutExpired):
            for each in self.processes:
                each.wait(max(0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """Kill all processes that are still running."""
        for each in self.processes:
            each.kill()
        for each in self.processes:
            each.wait()

    def close(self) -> None:
        """Kill the processes if they are still running, and close their streams."""
        self.kill()
        for stream in (self.early_output, *(each.stdin for each in self.processes)):
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
    """Train in child processes and move their output into `folder`, to be renamed to `final`.

    The checkpoints stay in the job's work folder until the caller has renamed `folder`, which may fail on a full disk;
    the caller then deletes them.

    Args:
        on_event: called with each event (see `events.py`) as it appears.
        trainer: started earlier for the job's hardware, without a job yet; None to start one.

    Raises:
        Unavailable: the trainer was killed; another attempt resumes from its last checkpoint.
        Refused: the loss diverged.
        Interrupted: this process got a signal; the trainer has written a checkpoint.
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
        trainer.start(job)
        running = True
        while running:
            running = trainer.is_running()
            for event in tails[0].new():
                last = event
                on_event(event)
            if running:
                time.sleep(POLL_SECONDS)
    except BaseException:  # also for Ctrl-C, leave a checkpoint and no child process
        trainer.terminate()
        raise
    trainer.append_early_output(job.work / "log.txt")
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


def _rank_variables(rank: int, size: int) -> dict[str, str]:
    """Return torchrun's environment variables of a process."""
    return {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{size}", "LOCAL_WORLD_SIZE": f"{size}"}


def _failure_order(failure: tuple[int, int]) -> tuple[bool, bool, int]:
    """Sort the original failure first: a process that loses a peer fails with a generic code."""
    rank, code = failure
    return code > 0, code not in (*_ERRORS, 128 + signal.SIGTERM), rank


def _failure(code: int, last: dict[str, Any], work: Path) -> ModelworksError:
    if last.get("type") == "failed" and code in _ERRORS:
        kind = Overtaken if last["overtaken"] else _ERRORS[code]
        return kind(last["message"], last["hint"], code=last["code"])
    if code in (128 + signal.SIGTERM, -signal.SIGTERM):  # negative before the handler was set
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
            f"the trainer failed and could not write the reason to {work}",
            "free some disk space and run again",
            code="disk.full",
        )
    return ModelworksError(
        f"the trainer ended with exit code {code}; see {work / 'log.txt'}",
        "read the last lines of the log for the cause",
        code="training.failed",
    )

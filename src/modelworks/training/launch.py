"""The parent's side of a training: start the trainer program, pass on what it tells, read what it left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Corrupt, Interrupted, ModelworksError, Refused, Unavailable
from modelworks.records import TrainedModel, ValidationReport
from modelworks.training.events import EventTail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelworks.training.job import Job

__all__ = ["launch"]

POLL_SECONDS = 0.05
TERM_SECONDS = 30.0
_ERRORS: dict[int, type[ModelworksError]] = {2: BadInput, 3: Refused, 4: Unavailable, 5: Corrupt}


def launch(
    job: Job, report: ValidationReport, folder: Path, final: Path, on_event: Callable[[dict[str, Any]], None]
) -> TrainedModel:
    """Train in a child process; its output moves into `folder`, which will be called `final`.

    Args:
        on_event: called with each event (see `events.py`) as it appears.

    Raises:
        Unavailable: the child was killed; another attempt resumes from its last checkpoint.
        Refused: the loss diverged.
        Interrupted: this process was asked to stop; the child has written a checkpoint.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    job.write(job.work / "job.json")
    events = job.work / "events.jsonl"
    tail = EventTail(events)
    last: dict[str, Any] = {}
    with (job.work / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            # -P: whatever lies in the current folder shadows no library.
            [sys.executable, "-P", "-m", "modelworks.training", str(job.work / "job.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **_environment(job)},
        )
    try:
        running = True
        while running:
            running = child.poll() is None
            for event in tail.new():
                last = event
                on_event(event)
            if running:
                time.sleep(POLL_SECONDS)
    except BaseException:
        _end(child)
        raise
    if child.returncode or last.get("type") != "done":
        raise _failure(child.returncode, last, job.work)
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


def _environment(job: Job) -> dict[str, str]:
    """What must be set before the child's libraries are loaded."""
    return {
        "OMP_NUM_THREADS": str(job.hardware.threads),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it CUDA's sums have no fixed order
    }


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask for a checkpoint and an end; insist after a while."""
    child.terminate()
    try:
        child.wait(TERM_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


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

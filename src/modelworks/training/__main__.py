"""The trainer program: `python -m modelworks.training [JOB.json]`.

Read a job, train, and write `model/` and events.jsonl into the job's work folder. Without an argument the program
imports its libraries, reads the job's path from stdin and writes its output to log.txt beside the events. Exit codes
are those of `modelworks.errors`; 143 and 130 mean that a checkpoint was written after a signal.

Several processes with torchrun's environment variables train together, also under `torchrun -m modelworks.training
JOB.json`. Rank 0 writes events.jsonl, the others events-RANK.jsonl beside it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import Interrupted, ModelworksError, Unavailable
from modelworks.files.atomic_files import disk_errors
from modelworks.process import die_with_parent, rare_garbage_collection
from modelworks.training.job import Job, events_name
from modelworks.training.monitoring.events import EventLog, failure

if TYPE_CHECKING:
    from types import FrameType

LOCK_SECONDS = 60.0
"""Seconds to wait for the trainer of an earlier run to exit."""


def main() -> int:
    """Run the job named on the command line, or on stdin."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Ctrl-C reaches the process group; the parent sends SIGTERM for it, so that it is handled once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path = sys.argv[1] if len(sys.argv) > 1 else _read_job_path()
    if not path:  # the parent needs no training, or has exited
        return 0
    job = Job.read(Path(path))
    if path not in sys.argv:
        _log_to(job.work / "log.txt")
    events = EventLog(job.work / events_name(int(os.environ.get("RANK", "0"))))
    try:
        die_with_parent(job.parent or os.getppid())
        if os.environ.get("RANK", "0") == "0":
            _lock(job.work)
        with disk_errors(job.work):
            if job.hardware.ray:
                from modelworks.training.launchers import ray_train

                ray_train.fit(job, events)
            else:
                with rare_garbage_collection():
                    from modelworks.training.fit import fit  # importing torch takes seconds

                fit(job, events)
    except ModelworksError as error:
        with suppress(OSError):  # on a full disk only the exit code is left
            events.write("failed", **failure(error))
        return error.exit_code
    return 0


def _read_job_path() -> str:
    """Import the libraries of a training, then read the job's path from the parent."""
    with rare_garbage_collection():
        import torch

        from modelworks.training import fit  # noqa: F401  # imported before the job is known

        # The first optimizer of a process imports torch's compiler, which takes more than a second.
        torch.optim.SGD([torch.zeros(1)])

    return sys.stdin.readline().strip()


def _lock(work: Path) -> None:
    """Lock the work folder until this process exits.

    The trainer of a killed run writes a checkpoint before it exits, from which this one resumes.

    Raises:
        Unavailable: another trainer keeps the lock.
    """
    descriptor, deadline = os.open(work, os.O_RDONLY), time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the trainer of an earlier run is still running in {work}",
                    "end that process and run again",
                    code="training.running",
                ) from None
            time.sleep(0.05)
        else:
            return


def _log_to(path: Path) -> None:
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Handle a signal that arrives before the first step, when there is nothing to save."""
    raise Interrupted(number)


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # all files are written; torch's teardown would take most of a second

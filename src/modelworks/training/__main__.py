"""The trainer program: `python -m modelworks.training [JOB.json]`.

Reads a job, trains, and leaves `model/` in the job's work folder. What happens meanwhile is in events.jsonl.
Without an argument the job's name is awaited on stdin, the libraries are imported meanwhile, and what they print goes
to log.txt beside the events. Exit codes are those of `modelworks.errors`; 143 and 130 mean that a checkpoint was
written on request.

Started several times with the environment of torchrun, each process does its share; `torchrun -m modelworks.training
JOB.json` does as well. The first writes events.jsonl, the others theirs beside it, with their number in the name.
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

PATIENCE = 60.0
"""Seconds for a trainer that nobody waits for any more to end."""


def main() -> int:
    """Run the job named on the command line, or on stdin."""
    signal.signal(signal.SIGTERM, _give_up)
    # Ctrl-C reaches the whole group; the parent passes it on as SIGTERM, so that it is answered once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    named = sys.argv[1] if len(sys.argv) > 1 else _awaited()
    if not named:  # there is nothing to train after all, or nobody is left to ask for it
        return 0
    job = Job.read(Path(named))
    if named not in sys.argv:
        _log_to(job.work / "log.txt")
    events = EventLog(job.work / events_name(int(os.environ.get("RANK", "0"))))
    try:
        die_with_parent(job.parent or os.getppid())
        if os.environ.get("RANK", "0") == "0":
            _wait_for_the_one_before(job.work)
        with disk_errors(job.work):
            if job.hardware.ray:
                from modelworks.training.launchers import ray_train

                ray_train.fit(job, events)
            else:
                with rare_garbage_collection():
                    from modelworks.training.fit import fit  # torch takes seconds: only now

                fit(job, events)
    except ModelworksError as error:
        with suppress(OSError):  # a disk that is full takes no event either; the exit code speaks for itself
            events.write("failed", **failure(error))
        return error.exit_code
    return 0


def _awaited() -> str:
    """Import what a training needs, then return the line that the parent writes when it knows the job."""
    with rare_garbage_collection():
        import torch

        from modelworks.training import fit  # noqa: F401  # imported for the time when there is a job

        # The first optimizer of a process imports torch's compiler, which takes more than a second.
        torch.optim.SGD([torch.zeros(1)])

    return sys.stdin.readline().strip()


def _wait_for_the_one_before(work: Path) -> None:
    """Be alone in the work folder until this process ends.

    A trainer whose run was killed writes a checkpoint before it ends: there this one goes on.

    Raises:
        Unavailable: it does not end.
    """
    descriptor, deadline = os.open(work, os.O_RDONLY), time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the trainer of an earlier run is still at work in {work}",
                    "end that process, and run again",
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


def _give_up(number: int, _frame: FrameType | None) -> None:
    """Answer a signal before the first step: there is nothing to keep."""
    raise Interrupted(number)


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # all is on disk; to take torch apart would cost the parent, who waits, most of a second

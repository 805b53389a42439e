"""How soon a training takes its first step, and whether its memory grows with the set."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import ROOT, Comparison, alternately, environment, run
from benchmarks.trainers import jobs
from benchmarks.trainers.ours import command
from modelworks.training import hardware
from modelworks.training.monitoring.events import EventTail

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelworks.training.job import Job

__all__ = ["first_step", "memory"]

POLL_SECONDS = 0.005
STEPS = 200
"""Of 512 rows each: they touch most pages of the larger set."""


def first_step(runs: int, folder: Path) -> list[Comparison]:
    """From the program's start to the end of its first step, its rows decoded by a training before."""
    job = jobs.fashion(folder / "job", 60_000)
    # A checkpoint at every step makes the trainer tell of each; the event comes before its checkpoint.
    job = dataclasses.replace(job, train=dataclasses.replace(job.train, checkpoint_steps=1))

    def ours(turn: int) -> float:
        started = time.time()
        told, _ = _until(job, jobs.for_side(job, folder / f"turn-{turn}", 0), 1)
        return float(told["time"]) - started

    def importing(_turn: int) -> float:
        started = time.time()  # to the import's end: the process's own takes half as long again
        return float(run([sys.executable, "-c", "import time, torch; print(time.time())"], ROOT)[1]) - started

    ours(-1)  # decodes
    began, imported = alternately(max(runs, 3), ours, importing)
    return [
        Comparison(
            name="first step of 60,000 images, decoded before, beyond importing torch",
            unit="s",
            ours=[whole - alone for whole, alone in zip(began, imported, strict=True)],
            peer_name="import torch",
            peer=imported,
            target="<= 1.5 s",
            notes=(
                "from the start of the process to the end of the first step; the import is the peer's, in its turn",
            ),
        )
    ]


def memory(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Peak memory of the whole program, decoding included, on ten times as many rows."""
    rows = 12_000 if small else 60_000

    def peak(rows: int) -> Callable[[int], float]:
        job = jobs.pictures(folder / str(rows), rows, epochs=max(1, 2 * STEPS * 512 // rows))

        def measured(turn: int) -> float:
            place = folder / f"{rows}-{turn}"
            own = dataclasses.replace(job, decoded=place / "decoded")
            return _until(own, jobs.for_side(own, place, 0), STEPS)[1]

        return measured

    many, few = alternately(runs, peak(10 * rows), peak(rows))
    return [
        Comparison(
            name=f"peak memory, {10 * rows:,} images against {rows:,}",
            unit="MiB",
            ours=many,
            peer_name=f"ours, {rows:,} images",
            peer=few,
            target="<= 1.1",
            notes=(f"of the process as the kernel counts it (VmHWM), from its start through decoding to step {STEPS}",),
        )
    ]


def _until(job: Job, path: Path, step: int) -> tuple[dict[str, Any], float]:
    """Train until a step event of at least that step, then stop. The event, and the process's peak memory in MiB.

    Raises:
        SystemExit: the trainer failed.
    """
    tail = EventTail(path.with_name("events.jsonl"))
    child = subprocess.Popen(
        command(path),
        env={**environment(), **hardware.environment(job.hardware)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    found, peak = None, 0.0
    while found is None and not _ended(child.pid):
        reached = [event for event in tail.new() if event["type"] == "step" and event["step"] >= step]
        found = reached[0] if reached else None
        peak = _peak(child.pid) or peak
        time.sleep(POLL_SECONDS)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate()
    if found is None:
        raise SystemExit(f"the trainer ended with {child.returncode}: {errors.decode()[-2000:]}")
    return found, peak


def _peak(number: int) -> float:
    """Most memory a process has had since it became its program, MiB; 0 when it is gone.

    Not what `wait4` tells: that counts what the parent had when it forked.
    """
    try:
        status = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 2**10 if found else 0.0


def _ended(number: int) -> bool:
    """Whether a child has ended, which is left to be waited for."""
    return os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

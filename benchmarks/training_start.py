"""Measure the time to a training's first step, and the growth of its memory with the data set."""

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
"""Steps of 512 rows each, which read most pages of the larger data set."""


def first_step(runs: int, folder: Path) -> list[Comparison]:
    """Measure from the process's start to the end of the first step, with rows that are already decoded."""
    job = jobs.fashion(folder / "job", 60_000)
    # With a checkpoint at every step the trainer writes an event for each step, before the checkpoint.
    job = dataclasses.replace(job, train=dataclasses.replace(job.train, checkpoint_steps=1))

    def ours(turn: int) -> float:
        started = time.time()
        event, _ = _until(job, jobs.for_side(job, folder / f"turn-{turn}", 0), 1)
        return float(event["time"]) - started

    def importing(_turn: int) -> float:
        started = time.time()  # until the end of the import; the end of the process takes half as long again
        return float(run([sys.executable, "-c", "import time, torch; print(time.time())"], ROOT)[1]) - started

    ours(-1)  # decodes
    totals, imported = alternately(max(runs, 3), ours, importing)
    return [
        Comparison(
            name="first step of 60,000 images, decoded before, beyond importing torch",
            unit="s",
            ours=[total - alone for total, alone in zip(totals, imported, strict=True)],
            peer_name="import torch",
            peer=imported,
            target="<= 1.5 s",
            notes=(
                "from the start of the process to the end of the first step; the import is the peer's, in its turn",
            ),
        )
    ]


def memory(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Measure the process's peak memory, including decoding, with ten times as many rows."""
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
    """Train until an event of at least that step, then stop.

    Return the event and the peak memory in MiB.

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
    """Return the peak memory of a process since exec, in MiB; 0 if it has ended.

    `wait4` is not usable: it includes the parent's memory at the fork.
    """
    try:
        status = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 2**10 if found else 0.0


def _ended(number: int) -> bool:
    """Return whether a child has ended, without reaping it."""
    return os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

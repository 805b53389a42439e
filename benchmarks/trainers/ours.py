"""Ours: the trainer program as the pipeline starts it, with events, checkpoints and progress on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.trainers.outcome import WARM_UP, Outcome, score
from modelworks.training.launchers.local import POLL_SECONDS
from modelworks.training.monitoring.events import EventTail

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.training.job import Job

__all__ = ["command", "train"]


def command(job: Path) -> list[str | Path]:
    """The trainer program on a job's file."""
    return [sys.executable, "-P", "-m", "modelworks.training", job]


def train(job: Job) -> Outcome:
    """Run the program, follow its events as they come, then test the model it stored."""
    tail = EventTail(job.work / "events.jsonl")
    told: list[dict[str, Any]] = []
    path = job.work / "job.json"
    replace(job, parent=os.getpid()).write(path)
    child = subprocess.Popen(command(path))
    running = True
    while running:
        running = child.poll() is None
        for event in tail.new():
            told.append(event)
            if event["type"] == "step":
                print(f"step {event['step']}, {event['seconds_left']:.0f} s left", file=sys.stderr)
        time.sleep(POLL_SECONDS)
    if child.returncode:
        raise SystemExit(f"the trainer ended with {child.returncode}: {told[-1:]}")
    begun = next(event["time"] for event in told if event["type"] == "start")
    ended = [event["time"] for event in told if event["type"] == "epoch"][-1]
    checkpoints = [event["seconds"] for event in told if event["type"] == "checkpoint"]

    # Only now: while it trains, this process takes no more of the machine than the pipeline's does.
    from benchmarks.trainers.rows import load, test_rows
    from modelworks.models import serialization

    rows = load(job)
    contents, labels = test_rows(job, rows)
    predicted = serialization.load(job.work / "model").predict(contents)["predicted"]
    accuracy, macro_f1 = score(predicted, labels, rows.data.objective.num_outputs)
    return Outcome(
        seconds=ended - begun,
        epochs=job.train.epochs,
        examples=len(rows) * job.train.epochs,
        tokens=rows.num_tokens * job.train.epochs,
        accuracy=accuracy,
        macro_f1=macro_f1,
        warm_examples_per_second=_warm(told, job.train.batch_size, ended),
        remark=f"{len(checkpoints)} checkpoints in {sum(checkpoints):.2f} s, {len(told)} events",
    )


def _warm(told: list[dict[str, Any]], batch_size: int, ended: float) -> float:
    """Examples a second after the warm-up. A step event is written when the GPU has done its step, as the last is."""
    steps = [event for event in told if event["type"] == "step" and event["step"] >= WARM_UP]
    if len(steps) < 2:
        return 0.0
    return float((steps[-1]["step"] - steps[0]["step"]) * batch_size / (ended - steps[0]["time"]))

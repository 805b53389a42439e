"""Our trainer as the pipeline starts it, with events, checkpoints and progress."""

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
    """Return the command of our trainer for a job's file."""
    return [sys.executable, "-P", "-m", "modelworks.training", job]


def train(job: Job) -> Outcome:
    """Run the trainer, read its events, then test the saved model."""
    tail = EventTail(job.work / "events.jsonl")
    seen: list[dict[str, Any]] = []
    path = job.work / "job.json"
    replace(job, parent=os.getpid()).write(path)
    child = subprocess.Popen(command(path))
    running = True
    while running:
        running = child.poll() is None
        for event in tail.new():
            seen.append(event)
            if event["type"] == "step":
                print(f"step {event['step']}, {event['seconds_left']:.0f} s left", file=sys.stderr)
        time.sleep(POLL_SECONDS)
    if child.returncode:
        raise SystemExit(f"the trainer ended with {child.returncode}: {seen[-1:]}")
    begun = next(event["time"] for event in seen if event["type"] == "start")
    ended = [event["time"] for event in seen if event["type"] == "epoch"][-1]
    checkpoints = [event["seconds"] for event in seen if event["type"] == "checkpoint"]

    # After the training, so that this process uses no more of the machine than the pipeline does.
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
        warm_examples_per_second=_warm(seen, job.train.batch_size, ended),
        remark=f"{len(checkpoints)} checkpoints in {sum(checkpoints):.2f} s, {len(seen)} events",
    )


def _warm(seen: list[dict[str, Any]], batch_size: int, ended: float) -> float:
    """Return examples per second after the warm-up.

    A step event is written after the GPU has finished the step.
    """
    steps = [event for event in seen if event["type"] == "step" and event["step"] >= WARM_UP]
    if len(steps) < 2:
        return 0.0
    return float((steps[-1]["step"] - steps[0]["step"]) * batch_size / (ended - steps[0]["time"]))

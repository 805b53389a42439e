"""Trainings with several processes, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from safetensors.torch import load_file

from modelworks.training.job import Job
from modelworks.training.launchers.local import launch

Event = dict[str, Any]


def run(job: Job, on_event: Callable[[Event], None] = lambda event: None) -> tuple[Path, list[Event]]:
    """Launch a job and return the output folder and the events."""
    folder = job.work.with_name(f"{job.work.name}-out")
    folder.mkdir(exist_ok=True)
    recorded: list[Event] = []

    def add(event: Event) -> None:
        recorded.append(event)
        on_event(event)

    launch(job, None, folder, folder, add)  # type: ignore[arg-type]  # the report is not read
    return folder, recorded


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def max_difference(one: Path, two: Path) -> float:
    """Return the largest difference between two models' weights.

    Biases of attention are left out: that of the keys does not change the attention, so its gradient is only rounding
    error, which Adam scales to full steps.
    """
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    names = [name for name in first if not name.endswith("project_in.bias")]
    return max(float((first[name] - second[name]).abs().max()) for name in names)


def trainers() -> list[psutil.Process]:
    """Return the trainers among this process's children, by rank."""
    return [each for each in psutil.Process().children() if "modelworks.training" in each.cmdline()]


def signalled(number: int, rank: int, at: str) -> Callable[[Event], None]:
    """Return a callback that sends a trainer a signal at the first event of a kind."""
    sent: list[int] = []

    def on_event(event: Event) -> None:
        if event["type"] == at and not sent:
            child = trainers()[rank]
            sent.append(child.pid)
            child.send_signal(number)

    return on_event

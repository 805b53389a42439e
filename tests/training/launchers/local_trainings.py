"""Trainings in a trainer process, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from samples.datasets import labelled

from modelworks.records import DatasetVersion, TrainedModel, ValidationReport
from modelworks.training.job import Job
from modelworks.training.launchers.local import Trainer, launch

Event = dict[str, Any]


def report(job: Job) -> ValidationReport:
    dataset = DatasetVersion(
        name="digits",
        folder=job.dataset,
        digest="",
        features=labelled("image", [str(digit) for digit in range(10)]),
        rows=1797,
        source={},
        licence="",
    )
    return ValidationReport(dataset=dataset, key="", folder=job.dataset, checks=(), quarantined=0, warnings=(), rows={})


def run(
    job: Job, on_event: Callable[[Event], None] = lambda event: None, trainer: Trainer | None = None
) -> tuple[TrainedModel, Path]:
    """Launch a job and return the record and the output folder."""
    folder = job.work.with_name(f"{job.work.name}-out")
    folder.mkdir(exist_ok=True)
    return launch(job, report(job), folder, folder, on_event, trainer), folder


def trainers() -> list[psutil.Process]:
    """Return the trainers among this process's children; other tests may have started a server."""
    return [each for each in psutil.Process().children() if "modelworks.training" in each.cmdline()]

"""Conditions of a run at which a disk fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from faults.projects import PIPELINES, FaultWorkspace, Pipeline

LONG = {"train.epochs": "12", "train.checkpoint_steps": "10"}
"""Enough checkpoints for a fault between two of them."""

Condition = Callable[[FaultWorkspace], bool]
BEGUN = {"ingested": "stage.before[validate]", "validated": "stage.before[train]"}
"""Initial states of cases, and the fault point at which the run that produced each was killed."""


def long_pipeline() -> Pipeline:
    """Return the digits pipeline with many checkpoints."""
    cnn = PIPELINES["cnn"]
    return replace(cnn, changes={**cnn.changes, **LONG})


def has_checkpoint(workspace: FaultWorkspace) -> bool:
    return any((workspace.project.state / "training").glob("*/checkpoints/step-*"))


def is_training(workspace: FaultWorkspace) -> bool:
    return any((workspace.project.state / "training").glob("*/job.json"))


@contextmanager
def once(condition: Condition, workspace: FaultWorkspace, act: Callable[[], object]) -> Iterator[None]:
    """Call `act` in a thread when a condition becomes true during the block."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if condition(workspace):
                act()
                return
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()

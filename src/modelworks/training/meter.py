"""The meter of a training: examples, time and loss, told in step events."""

from __future__ import annotations

import math
import resource
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelworks.training.events import EventLog
    from modelworks.training.hardware import Hardware

__all__ = ["Diverged", "Meter"]

EVENT_SECONDS = 0.25
"""Time between step events: the loss is read back from the device only then."""


class Diverged(ArithmeticError):
    """The loss is no number any more."""


class Meter:
    """Counts examples and time, and reads the loss back from the device once per event."""

    def __init__(
        self, step: int, num_steps: int, hardware: Hardware, events: EventLog, progress: Mapping[str, float]
    ) -> None:
        self.examples = int(progress.get("examples", 0))
        self._num_steps, self._hardware, self._events = num_steps, hardware, events
        self._started = time.perf_counter() - progress.get("seconds", 0.0)
        self._last_time, self._last_step, self._last_examples = time.perf_counter(), step, self.examples
        self._loss = torch.zeros((), device=hardware.device)

    @property
    def seconds(self) -> float:
        """Wall time of all attempts so far."""
        return time.perf_counter() - self._started

    @property
    def due(self) -> bool:
        return time.perf_counter() - self._last_time >= EVENT_SECONDS

    def progress(self) -> dict[str, float]:
        """What a checkpoint keeps, for the next attempt to go on counting."""
        return {"seconds": self.seconds, "examples": self.examples}

    def add(self, loss: torch.Tensor, num_examples: int) -> None:
        """Count one step; waits for nothing."""
        self._loss += loss
        self.examples += num_examples

    def report(self, step: int, epoch: int, rate: float) -> None:
        """Write a step event over the steps since the last one.

        Raises:
            Diverged: their mean loss is infinite or no number.
        """
        num_steps = step - self._last_step
        loss = self._loss.item() / num_steps
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {step} (learning rate {rate:.3g})")
        now = time.perf_counter()
        elapsed = now - self._last_time
        self._events.write(
            "step",
            step=step,
            epoch=epoch,
            loss=loss,
            learning_rate=rate,
            examples_per_second=(self.examples - self._last_examples) / elapsed,
            seconds_left=(self._num_steps - step) * elapsed / num_steps,
            memory_mb=_memory_mb(self._hardware),
        )
        self._loss.zero_()
        self._last_time, self._last_step, self._last_examples = now, step, self.examples

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent here says nothing of the steps' speed."""
        started = time.perf_counter()
        yield
        self._last_time += time.perf_counter() - started


def _memory_mb(hardware: Hardware) -> float:
    """Peak memory: of the device when it is a GPU, else of this process."""
    if hardware.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

"""Measure examples, time and loss of a training, and report them in step events."""

from __future__ import annotations

import math
import resource
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelworks.training.distributed.context import World
    from modelworks.training.hardware import Hardware
    from modelworks.training.monitoring.events import EventLog

__all__ = ["Diverged", "Meter"]

EVENT_SECONDS = 0.25
"""Time between step events: on a GPU the losses are read back only then."""


class Diverged(ArithmeticError):
    """The loss or a weight is infinite or NaN."""

    def __init__(self, problem: str, step: int, rate: float, batch: np.ndarray) -> None:
        super().__init__(f"{problem} at step {step} (learning rate {rate:.3g})")
        self.step, self.rate, self.batch = step, rate, batch


class Meter:
    """Counts examples and time. Its state is part of every checkpoint."""

    def __init__(self, num_steps: int, hardware: Hardware, events: EventLog, world: World) -> None:
        self.examples = 0
        self.step = 0
        self._num_steps, self._hardware, self._events, self._world = num_steps, hardware, events, world
        self._started = self._last_time = time.perf_counter()
        self._last_examples = 0
        self._rate, self._batch = 0.0, np.empty(0, np.int64)
        self._steps: list[tuple[torch.Tensor, float, np.ndarray]] = []
        """Loss, rate and batch of each step since the last event."""

    @property
    def seconds(self) -> float:
        """Wall time over all attempts."""
        return time.perf_counter() - self._started

    @property
    def due(self) -> bool:
        """Whether a step event is due."""
        return time.perf_counter() - self._last_time >= EVENT_SECONDS

    def state_dict(self) -> dict[str, Any]:
        """Return the counts for a checkpoint."""
        return {"seconds": self.seconds, "examples": self.examples, "step": self.step}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore the counts of a checkpoint."""
        self.examples, self.step = state["examples"], state["step"]
        self._last_examples = self.examples
        self._started = time.perf_counter() - state["seconds"]

    def add(self, loss: torch.Tensor, rate: float, batch: np.ndarray) -> None:
        """Count one step without synchronising with the GPU.

        Args:
            loss: mean loss of the batch, or this process's share of it, on any device.
            rate: the learning rate.
            batch: the rows.

        Raises:
            Diverged: the loss is infinite or NaN; checked here only in one process on the CPU, where it is free.
        """
        self.step += 1
        self.examples += len(batch)
        self._rate, self._batch = rate, batch
        self._steps.append((loss, rate, batch))
        if loss.device.type == "cpu" and self._world.size == 1 and not math.isfinite(loss.item()):
            self._read()

    def diverged(self, problem: str) -> Diverged:
        """Return the error for a problem after the last step."""
        return Diverged(problem, self.step, self._rate, self._batch)

    def report(self, epoch: int) -> None:
        """Write a step event over the steps since the last one.

        Raises:
            Diverged: one of their losses is infinite or NaN.
        """
        rate, num_steps = self._steps[-1][1], len(self._steps)
        losses = self._read()
        now = time.perf_counter()
        elapsed = now - self._last_time
        self._events.write(
            "step",
            step=self.step,
            epoch=epoch,
            loss=math.fsum(losses) / num_steps,
            learning_rate=rate,
            examples_per_second=(self.examples - self._last_examples) / elapsed,
            seconds_left=(self._num_steps - self.step) * elapsed / num_steps,
            memory_mb=_memory_mb(self._hardware),
        )
        self._last_time, self._last_examples = now, self.examples

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block from the speed of the steps."""
        started = time.perf_counter()
        yield
        self._last_time += time.perf_counter() - started

    def _read(self) -> list[float]:
        """Read the losses since the last event from the device."""
        losses: list[float] = self._world.all_reduce(torch.stack([loss for loss, _, _ in self._steps])).tolist()
        first = self.step - len(losses) + 1
        for place, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss}", first + place, *self._steps[place][1:])
        self._steps.clear()
        return losses


def _memory_mb(hardware: Hardware) -> float:
    """Return the peak memory of the GPU, or of this process on a CPU."""
    if hardware.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

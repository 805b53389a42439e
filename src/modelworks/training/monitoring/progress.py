"""The meter of a training: examples, time and loss, told in step events."""

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
    """The loss, or a weight, is no number any more."""

    def __init__(self, what: str, step: int, rate: float, batch: np.ndarray) -> None:
        super().__init__(f"{what} at step {step} (learning rate {rate:.3g})")
        self.step, self.rate, self.batch = step, rate, batch


class Meter:
    """Counts examples and time. A part of every checkpoint, so that a resumed training goes on counting."""

    def __init__(self, num_steps: int, hardware: Hardware, events: EventLog, world: World) -> None:
        self.examples = 0
        self.step = 0
        self._num_steps, self._hardware, self._events, self._world = num_steps, hardware, events, world
        self._started = self._last_time = time.perf_counter()
        self._last_examples = 0
        self._rate, self._batch = 0.0, np.empty(0, np.int64)
        self._taken: list[tuple[torch.Tensor, float, np.ndarray]] = []
        """Loss, rate and batch of each step since the last event."""

    @property
    def seconds(self) -> float:
        """Wall time of all attempts so far."""
        return time.perf_counter() - self._started

    @property
    def due(self) -> bool:
        """Whether it is time for an event."""
        return time.perf_counter() - self._last_time >= EVENT_SECONDS

    def state_dict(self) -> dict[str, Any]:
        """What the next attempt goes on counting from."""
        return {"seconds": self.seconds, "examples": self.examples, "step": self.step}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from there."""
        self.examples, self.step = state["examples"], state["step"]
        self._last_examples = self.examples
        self._started = time.perf_counter() - state["seconds"]

    def add(self, loss: torch.Tensor, rate: float, batch: np.ndarray) -> None:
        """Count one step; waits for nothing.

        Args:
            loss: its mean loss, or this process's share of it, on any device.
            rate: its learning rate.
            batch: rows it was about.

        Raises:
            Diverged: the loss is infinite or no number, and in one process on the CPU, where it costs nothing to look.
        """
        self.step += 1
        self.examples += len(batch)
        self._rate, self._batch = rate, batch
        self._taken.append((loss, rate, batch))
        if loss.device.type == "cpu" and self._world.size == 1 and not math.isfinite(loss.item()):
            self._read()

    def diverged(self, what: str) -> Diverged:
        """Return the error for what was found after the last step."""
        return Diverged(what, self.step, self._rate, self._batch)

    def report(self, epoch: int) -> None:
        """Write a step event over the steps since the last one.

        Raises:
            Diverged: one of their losses is infinite or no number.
        """
        rate, num_steps = self._taken[-1][1], len(self._taken)
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
        """Time spent here says nothing of the steps' speed."""
        started = time.perf_counter()
        yield
        self._last_time += time.perf_counter() - started

    def _read(self) -> list[float]:
        """The losses since the last event, brought over at once."""
        losses: list[float] = self._world.total(torch.stack([loss for loss, _, _ in self._taken])).tolist()
        first = self.step - len(losses) + 1
        for place, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss}", first + place, *self._taken[place][1:])
        self._taken.clear()
        return losses


def _memory_mb(hardware: Hardware) -> float:
    """Peak memory: of the device when it is a GPU, else of this process."""
    if hardware.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

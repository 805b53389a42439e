"""The training loop: plain PyTorch, no step waits for a number it does not need."""

from __future__ import annotations

import math
import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from modelworks.data.batches import epoch_batches, in_order
from modelworks.data.packed import TRAIN, VALIDATION
from modelworks.training.optimization import learning_rate, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from modelworks.data.decoded import DecodedSet
    from modelworks.training.checkpoint import Checkpoints
    from modelworks.training.config import TrainConfig
    from modelworks.training.events import EventLog
    from modelworks.training.hardware import Hardware

__all__ = ["Diverged", "Stopped", "Trained", "train"]

EVENT_SECONDS = 0.25
"""Time between step events: the loss is read back from the device only then."""


class Diverged(ArithmeticError):
    """The loss is no number any more."""


class Stopped(Exception):
    """A signal asked the training to stop, and a checkpoint was written."""


@dataclass(frozen=True)
class Trained:
    """What a finished loop says of itself."""

    steps: int
    seconds: float
    examples_per_second: float


class Stop:
    """The number of the signal that asked to stop, looked at between steps; 0 for none."""

    requested = 0

    def request(self, number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        self.requested = number


def train(
    model: nn.Module,
    data: DecodedSet,
    config: TrainConfig,
    hardware: Hardware,
    checkpoints: Checkpoints,
    events: EventLog,
    stop: Stop,
) -> Trained:
    """Train a model in place, from its newest checkpoint if it has one, to the end of the last epoch.

    Raises:
        Diverged: the loss became infinite or no number.
        Stopped: `stop` was requested; a checkpoint stands at the step reached.
    """
    indices = np.flatnonzero(data.splits == TRAIN)
    lengths = data.input.lengths(data.arrays)
    labels = torch.from_numpy(data.labels)
    steps_per_epoch = math.ceil(len(indices) / config.batch_size)
    num_steps = steps_per_epoch * config.epochs
    optimizer = make_optimizer(model, config)
    rate_of = learning_rate(config, num_steps)
    step, progress = checkpoints.restore(model, optimizer)
    events.write(
        "start",
        steps=num_steps,
        epochs=config.epochs,
        parameters=sum(each.numel() for each in model.parameters()),
        resumed_from=step,
    )
    meter = _Meter(step, num_steps, hardware, events, progress)
    last_checkpoint = time.perf_counter()
    model.train()
    # A resume at the very end of an epoch goes back into it, for its validation may not have been written.
    for epoch in range(max(step - 1, 0) // steps_per_epoch, config.epochs):
        batches = epoch_batches(indices, lengths, config.batch_size, config.seed, epoch)
        for batch in batches[step - epoch * steps_per_epoch :]:
            rate = rate_of(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _step(model, optimizer, data, labels, batch, config, hardware)
            step += 1
            meter.add(loss, len(batch))
            stopping = bool(stop.requested)
            save = stopping or time.perf_counter() - last_checkpoint >= config.checkpoint_seconds
            if save or meter.due or step == num_steps:
                meter.report(step, epoch + 1, rate)  # raises Diverged: no checkpoint keeps a loss that is no number
            if save:
                with meter.paused():
                    started = time.perf_counter()
                    checkpoints.save(step, model, optimizer, meter.progress())
                    last_checkpoint = time.perf_counter()
                    events.write("checkpoint", step=step, seconds=last_checkpoint - started)
            if stopping:
                raise Stopped
        with meter.paused():
            events.write("epoch", step=step, epoch=epoch + 1, **_validate(model, data, config, hardware))
    return Trained(steps=step, seconds=meter.seconds, examples_per_second=meter.examples / meter.seconds)


class _Meter:
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


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: DecodedSet,
    labels: torch.Tensor,
    batch: np.ndarray,
    config: TrainConfig,
    hardware: Hardware,
) -> torch.Tensor:
    """One optimizer step; the loss, detached and still on its device."""
    target = labels[batch].to(hardware.device, non_blocking=True)
    with _autocast(hardware):
        logits = model(**data.input.batch(data.arrays, batch, hardware.device))
        loss = functional.cross_entropy(logits.float(), target)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if config.clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _validate(model: nn.Module, data: DecodedSet, config: TrainConfig, hardware: Hardware) -> dict[str, Any]:
    """Mean loss and accuracy on the validation rows; nothing when there are none."""
    indices = np.flatnonzero(data.splits == VALIDATION)
    if not len(indices):
        return {}
    labels = torch.from_numpy(data.labels)
    total = torch.zeros((), device=hardware.device)
    correct = torch.zeros((), device=hardware.device)
    model.eval()
    with torch.inference_mode(), _autocast(hardware):
        for batch in in_order(indices, data.input.lengths(data.arrays), max(256, config.batch_size)):
            target = labels[batch].to(hardware.device)
            logits = model(**data.input.batch(data.arrays, batch, hardware.device)).float()
            total += functional.cross_entropy(logits, target, reduction="sum")
            correct += (logits.argmax(-1) == target).sum()
    model.train()
    return {"validation_loss": total.item() / len(indices), "validation_accuracy": correct.item() / len(indices)}


def _autocast(hardware: Hardware) -> torch.autocast:
    return torch.autocast(hardware.device, torch.bfloat16, enabled=hardware.precision == "bf16")


def _memory_mb(hardware: Hardware) -> float:
    """Peak memory: of the device when it is a GPU, else of this process."""
    if hardware.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

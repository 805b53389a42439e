"""The training loop: plain PyTorch, no step waits for a number it does not need."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from modelworks.data.batches import epoch_batches, in_order
from modelworks.data.packed import TRAIN, VALIDATION
from modelworks.training.meter import Meter
from modelworks.training.optimization import learning_rate, make_optimizer

if TYPE_CHECKING:
    from types import FrameType

    from modelworks.data.decoded import DecodedSet
    from modelworks.training.checkpoint import Checkpoints
    from modelworks.training.config import TrainConfig
    from modelworks.training.events import EventLog
    from modelworks.training.hardware import Hardware

__all__ = ["Stopped", "Trained", "train"]


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
    meter = Meter(step, num_steps, hardware, events, progress)
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
    model.zero_grad(set_to_none=True)
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

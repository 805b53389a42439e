"""The training loop: plain PyTorch, no step waits for a number it does not need."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from modelworks.data.splits import TRAIN
from modelworks.preprocessing.batch_sampler import BatchSampler
from modelworks.training.checkpoint import Stateful, random_states
from modelworks.training.data_loader import Feed
from modelworks.training.distributed.context import World
from modelworks.training.monitoring.early_stopping import Best
from modelworks.training.monitoring.progress import Diverged, Meter
from modelworks.training.monitoring.validation_loop import validate
from modelworks.training.optimization.ema import make_average
from modelworks.training.optimization.lr_schedule import learning_rate
from modelworks.training.optimization.optimizers import make_optimizer
from modelworks.training.optimization.train_step import Stepper

if TYPE_CHECKING:
    from types import FrameType

    from modelworks.preprocessing.preprocessed import PreprocessedDataset
    from modelworks.training.checkpoint import Checkpoints
    from modelworks.training.config import TrainConfig
    from modelworks.training.hardware import Hardware
    from modelworks.training.monitoring.events import EventLog

__all__ = ["Stop", "Stopped", "Trained", "train"]

MOST = 50
"""A checkpoint by the clock waits until the training has taken this many times as long as writing the last one: on a
slow disk, too, they take no more than a fiftieth of the time."""


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

    def listen(self) -> None:
        """Take SIGTERM as the request, from now on."""
        signal.signal(signal.SIGTERM, self.request)

    def request(self, number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        self.requested = number


def train(
    model: nn.Module,
    data: PreprocessedDataset,
    config: TrainConfig,
    hardware: Hardware,
    checkpoints: Checkpoints,
    events: EventLog,
    stop: Stop,
    world: World | None = None,
) -> Trained:
    """Train a model in place, from its newest checkpoint if it has one, to the end of the last epoch.

    Raises:
        Diverged: the loss or a weight became infinite or no number.
        Stopped: `stop` was requested; a checkpoint stands at the step reached.
    """
    world = world or World()
    schedule = BatchSampler(
        np.flatnonzero(data.splits == TRAIN),
        data.input.lengths(data.arrays),
        epochs=config.epochs,
        batch_size=config.batch_size,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
    )
    feed = Feed(data, hardware, config.class_weights)
    average = make_average(model, config.ema)
    world.shard(model, average.model)
    optimizer = make_optimizer(model, config)
    rate_of = learning_rate(config, schedule.num_steps)
    meter = Meter(schedule.num_steps, hardware, events, world)
    best = Best(config)
    blank = data.input.blank(hardware.device)
    called = world.parallel(model)
    if config.compile:
        from modelworks.training.compile import Compiled  # its imports take seconds

        called = Compiled(model, data.input.shape, hardware)
    stepper = Stepper(called, optimizer, feed.weights, blank, config, hardware, world, events)
    parts: dict[str, Stateful] = {
        "model": model,
        "optimizer": optimizer,
        "average": average,
        "stepper": stepper,
        "meter": meter,
        "best": best,
        **random_states(world),
    }
    checkpoints.restore(parts)
    events.write(
        "start",
        steps=schedule.num_steps,
        epochs=config.epochs,
        parameters=sum(each.numel() for each in model.parameters()),
        resumed_from=meter.step,
        precision=hardware.precision,
        precision_source=hardware.precision_source,
        product_rates=dict(hardware.product_rates),
    )
    saved, cost = time.perf_counter(), 0.0

    def save(batch: np.ndarray, rate: float) -> None:
        nonlocal saved, cost
        with meter.paused():
            started = time.perf_counter()
            if not _finite(model, world):  # no checkpoint keeps what cannot be gone on from
                raise Diverged("a weight is infinite or no number", meter.step, rate, batch)
            checkpoints.save(meter.step, parts, keep=best.step if config.keep == "best" else 0)
            saved = time.perf_counter()
            cost = saved - started
            events.write("checkpoint", step=meter.step, seconds=cost)

    model.train()
    # A resume at the very end of an epoch goes back into it, for its validation may not have been written.
    for epoch in range(schedule.epoch_of(max(meter.step - 1, 0)), config.epochs):
        batches = schedule.batches(epoch)[meter.step - schedule.first_step(epoch) :]
        rate, batch = 0.0, np.empty(0, np.int64)
        for batch, (_, inputs, target) in zip(batches, feed.batches(map(world.part, batches)), strict=True):
            rate = rate_of(meter.step)
            loss = stepper.step(inputs, target, rate, world.min_rows(batch))
            average.update()
            meter.add(loss, rate, batch)
            steps_due = config.checkpoint_steps and meter.step % config.checkpoint_steps == 0
            seconds_due = time.perf_counter() - saved >= max(config.checkpoint_seconds, MOST * cost)
            stopping, saving, telling = world.agree(
                bool(stop.requested), bool(steps_due or seconds_due), meter.due or meter.step == schedule.num_steps
            )
            if stopping or saving or telling:
                meter.report(epoch + 1)
            if stopping or saving:
                save(batch, rate)
            if stopping:
                raise Stopped
        with meter.paused():
            figures = validate(average.model, data, feed, config.batch_size, hardware, world)
            events.write("epoch", step=meter.step, epoch=epoch + 1, **figures)
        if best.see(meter.step, figures) and config.keep == "best":
            save(batch, rate)
        if best.patience_is_over:
            events.write("early_stop", step=meter.step, epoch=epoch + 1, best_step=best.step)
            break
    if config.keep == "best" and best.step not in (0, meter.step):
        checkpoints.load(best.step, {name: parts[name] for name in ("model", "average")})
    average.store()
    return Trained(steps=meter.step, seconds=meter.seconds, examples_per_second=meter.examples / meter.seconds)


def _finite(model: nn.Module, world: World) -> bool:
    """Whether all weights are numbers, in every process."""
    weights = [world.local(each.detach()) for each in model.parameters()]
    norms = torch._foreach_norm(weights)  # noqa: SLF001  # one pass, one sync
    (infinite,) = world.agree(not torch.stack(norms).isfinite().all())
    return not infinite

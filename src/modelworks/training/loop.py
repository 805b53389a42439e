"""The training loop, in plain PyTorch. A step synchronises with the device only for events."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from modelworks.data.splits import TRAIN
from modelworks.preprocessing.batch_sampler import BatchSampler
from modelworks.training.checkpoint import Stateful, random_states
from modelworks.training.checkpoint_interval import CheckpointInterval
from modelworks.training.data_loader import Feed
from modelworks.training.distributed.context import World
from modelworks.training.monitoring.early_stopping import EarlyStopping
from modelworks.training.monitoring.progress import Meter
from modelworks.training.optimization.ema import make_average
from modelworks.training.optimization.lr_schedule import learning_rate
from modelworks.training.optimization.optimizers import make_optimizer
from modelworks.training.optimization.train_step import Stepper
from modelworks.training.validation_loop import Validated, validate

if TYPE_CHECKING:
    from types import FrameType

    from modelworks.preprocessing.preprocessed import PreprocessedDataset
    from modelworks.training.checkpoint import Checkpoints
    from modelworks.training.config import TrainConfig
    from modelworks.training.hardware import Hardware
    from modelworks.training.monitoring.events import EventLog

__all__ = ["Stop", "Stopped", "Trained", "train"]


class Stopped(Exception):
    """A stop was requested and a checkpoint was written."""


@dataclass(frozen=True)
class Trained:
    """Steps and time of a finished training, over all attempts."""

    steps: int
    seconds: float
    examples_per_second: float


class Stop:
    """The number of the signal that requested a stop, read after every step; 0 for none."""

    requested = 0

    def listen(self) -> None:
        """Handle SIGTERM as a stop request."""
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
    """Train a model in place, from its newest checkpoint if there is one.

    Raises:
        Diverged: the loss or a weight is infinite or NaN.
        Stopped: a stop was requested; a checkpoint of the last step is written.
    """
    return TrainingLoop(model, data, config, hardware, checkpoints, events, stop, world or World()).run()


class TrainingLoop:
    """The components of one training and the order in which they are called."""

    def __init__(
        self,
        model: nn.Module,
        data: PreprocessedDataset,
        config: TrainConfig,
        hardware: Hardware,
        checkpoints: Checkpoints,
        events: EventLog,
        stop: Stop,
        world: World,
    ) -> None:
        self._model, self._data, self._config, self._hardware = model, data, config, hardware
        self._checkpoints, self._events, self._stop, self._world = checkpoints, events, stop, world
        self._schedule = BatchSampler(
            np.flatnonzero(data.splits == TRAIN),
            data.processor.lengths(data.inputs),
            epochs=config.epochs,
            batch_size=config.batch_size,
            batch_tokens=config.batch_tokens,
            seed=config.seed,
            max_steps=config.max_steps,
        )
        self._feed = Feed(data, hardware, world)
        self._average = make_average(model, config.ema)
        world.shard(model, self._average.model)
        optimizer = make_optimizer(model, config)
        self._learning_rate = learning_rate(config, self._schedule.num_steps)
        self._meter = Meter(self._schedule.num_steps, hardware, events, world)
        self._early_stopping = EarlyStopping(config, data.objective)
        self._interval = CheckpointInterval(config)
        wrapped = world.parallel(model)
        if config.compile:
            from modelworks.training.compile import Compiled  # slow import

            wrapped = Compiled(model, data.processor.shape, hardware)
        self._stepper = Stepper(wrapped, optimizer, data.processor, data.objective, config, hardware, world, events)
        self._parts: dict[str, Stateful] = {
            "model": model,
            "optimizer": optimizer,
            "average": self._average,
            "stepper": self._stepper,
            "meter": self._meter,
            "best": self._early_stopping,
            **random_states(world),
        }

    def run(self) -> Trained:
        """Train from the newest checkpoint to the last step and load the chosen weights."""
        self._start()
        # A resume at the last step of an epoch validates it again, because its validation may be missing.
        first = self._schedule.epoch_of(max(self._meter.step - 1, 0))
        for epoch in range(first, self._schedule.num_epochs):
            self._train_epoch(epoch)
            self._end_epoch(epoch)
            if self._early_stopping.should_stop:
                best = self._early_stopping.best_step
                self._events.write("early_stop", step=self._meter.step, epoch=epoch + 1, best_step=best)
                break
        self._choose_weights()
        self._tune()
        seconds = self._meter.seconds
        return Trained(self._meter.step, seconds, examples_per_second=self._meter.examples / seconds)

    def _start(self) -> None:
        self._checkpoints.restore(self._parts)
        self._events.write(
            "start",
            steps=self._schedule.num_steps,
            epochs=self._schedule.num_epochs,
            parameters=sum(each.numel() for each in self._model.parameters()),
            resumed_from=self._meter.step,
            precision=self._hardware.precision,
            precision_source=self._hardware.precision_source,
            product_rates=dict(self._hardware.product_rates),
        )
        self._model.train()

    def _train_epoch(self, epoch: int) -> None:
        for batch in self._feed.batches(self._schedule.batches(epoch, start=self._meter.step)):
            rate = self._learning_rate(self._meter.step)
            loss = self._stepper.step(batch, rate)
            self._average.update()
            self._meter.add(loss, rate, batch.rows)
            self._report_and_save(epoch)

    def _report_and_save(self, epoch: int) -> None:
        """Write a step event and a checkpoint if due; stop if requested."""
        step = self._meter.step
        stopping, saving, reporting = self._world.any(
            bool(self._stop.requested),
            self._interval.due(step),
            self._meter.due or step == self._schedule.num_steps,
        )
        if stopping or saving or reporting:
            self._meter.report(epoch + 1)
        if stopping or saving:
            self._save()
        if stopping:
            raise Stopped

    def _end_epoch(self, epoch: int) -> None:
        """Compute the validation metrics, and keep the weights if they are the best so far."""
        with self._meter.paused():
            validated = self._validate(self._average.model)
            metrics = validated.metrics(self._data.objective) if validated else {}
            self._events.write("epoch", step=self._meter.step, epoch=epoch + 1, **metrics)
        if self._early_stopping.update(self._meter.step, metrics) and self._config.keep == "best":
            self._save()

    def _save(self) -> None:
        """Write a checkpoint.

        Raises:
            Diverged: a weight is infinite or NaN.
        """
        keep = self._early_stopping.best_step if self._config.keep == "best" else 0
        with self._meter.paused():
            started = time.perf_counter()
            if not _is_finite(self._model, self._world):
                raise self._meter.diverged("a weight is infinite or NaN")
            self._checkpoints.save(self._meter.step, self._parts, keep=keep)
            seconds = time.perf_counter() - started
            self._interval.saved(seconds)
            self._events.write("checkpoint", step=self._meter.step, seconds=seconds)

    def _choose_weights(self) -> None:
        """Load the best epoch's weights for `keep: best`, and copy the average into the model."""
        best = self._early_stopping.best_step
        if self._config.keep == "best" and best not in (0, self._meter.step):
            self._checkpoints.load(best, {name: self._parts[name] for name in ("model", "average")})
        self._average.store()

    def _tune(self) -> None:
        """Tune the objective, e.g. its thresholds, on predictions of the validation rows."""
        objective = self._data.objective
        validated = self._validate(self._model) if objective.tuned else None
        if validated:
            objective.tune(validated.predicted, validated.truth)

    def _validate(self, model: nn.Module) -> Validated | None:
        return validate(model, self._data, self._feed, self._config.batch_size, self._hardware, self._world)


def _is_finite(model: nn.Module, world: World) -> bool:
    """Return whether all weights are finite in all processes."""
    norm = nn.utils.get_total_norm([world.local(each.detach()) for each in model.parameters()])
    (infinite,) = world.any(not math.isfinite(norm.item()))
    return not infinite

"""What is watched at the end of every epoch: the validation rows, the best epoch, and when to stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from modelworks.data.batches import in_order
from modelworks.data.packed import VALIDATION
from modelworks.errors import BadInput
from modelworks.training.stepper import autocast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from modelworks.data.decoded import DecodedSet
    from modelworks.training.config import TrainConfig
    from modelworks.training.feed import Feed
    from modelworks.training.hardware import Hardware
    from modelworks.training.world import World

__all__ = ["Best", "validate"]

BATCH = 256
"""Examples at once, at least: without gradients they need little memory."""


def validate(
    model: nn.Module, data: DecodedSet, feed: Feed, batch_size: int, hardware: Hardware, world: World
) -> dict[str, float]:
    """`validation_loss` (mean) and `validation_accuracy`; nothing when there are no such rows.

    When memory does not suffice, half as many rows are computed at once.

    Raises:
        BadInput: memory does not suffice for one row, or for the share of one of the processes of a sharded model.
    """
    indices = np.flatnonzero(data.splits == VALIDATION)
    if not len(indices):
        return {}
    size = max(BATCH, batch_size)
    order = in_order(indices, data.input.lengths(data.arrays), size)
    sums = torch.zeros(2, device=hardware.device)
    training = model.training
    model.eval()
    with torch.inference_mode(), autocast(hardware):
        for batch, (_, inputs, target) in zip(order, feed.batches(map(world.part, order)), strict=True):
            while True:
                try:
                    logits = _logits(model, inputs, size)
                    break
                except torch.OutOfMemoryError as error:
                    size = min(size, len(target)) // 2
                    if world.sharded or not size:  # processes that share a model go through it together
                        raise BadInput(
                            f"memory does not suffice for validation: {str(error).splitlines()[0]}",
                            "take a smaller model or smaller inputs, or divide it among more processes: compute.shard",
                        ) from None
            sums[0] += functional.cross_entropy(logits, target, reduction="sum") / world.copies(batch)
            sums[1] += (logits.argmax(-1) == target).sum() / world.copies(batch)
    model.train(training)
    loss, correct = world.total(sums).tolist()
    return {"validation_loss": loss / len(indices), "validation_accuracy": correct / len(indices)}


def _logits(model: nn.Module, inputs: Mapping[str, torch.Tensor], size: int) -> torch.Tensor:
    """float32 (n, classes), of no more than `size` rows at once."""
    parts = zip(*(torch.split(each, size) for each in inputs.values()), strict=True)
    return torch.cat([model(**dict(zip(inputs, part, strict=True))).float() for part in parts])


class Best:
    """The best epoch so far. A part of every checkpoint."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._value, self._steps_seen, self._since = math.inf, 0, 0
        self.step = 0
        """After which the best epoch ended; 0 before the first."""

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"value": self._value, "seen": self._steps_seen, "since": self._since, "step": self.step}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from there."""
        self._value, self._steps_seen = state["value"], state["seen"]
        self._since, self.step = state["since"], state["step"]

    def see(self, step: int, figures: Mapping[str, float]) -> bool:
        """Take note of an epoch that ended at a step; True when it is the best. Seeing it again changes nothing."""
        if step <= self._steps_seen or not figures:
            return False
        self._steps_seen = step
        value = figures[self._config.monitor] * (-1 if self._config.monitor == "validation_accuracy" else 1)
        if value < self._value:
            self._value, self._since, self.step = value, 0, step
            return True
        self._since += 1
        return False

    @property
    def patience_is_over(self) -> bool:
        """Whether there was no better epoch for as many as the config waits."""
        return 0 < self._config.patience <= self._since

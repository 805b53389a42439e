"""Decide when a checkpoint is due."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelworks.training.config import TrainConfig

__all__ = ["CheckpointInterval"]

MAX_COST = 1 / 50
"""Maximum share of the time that checkpoints by `checkpoint_seconds` may take."""


class CheckpointInterval:
    """The interval of checkpoints, from `train.checkpoint_seconds` and `checkpoint_steps`."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._last, self._cost = time.perf_counter(), 0.0

    def due(self, step: int) -> bool:
        """Return whether a checkpoint is due after a step."""
        if self._config.checkpoint_steps and step % self._config.checkpoint_steps == 0:
            return True
        return time.perf_counter() - self._last >= max(self._config.checkpoint_seconds, self._cost / MAX_COST)

    def saved(self, seconds: float) -> None:
        """Restart the interval after a checkpoint that took `seconds` to write."""
        self._last, self._cost = time.perf_counter(), seconds

"""Track the best epoch and decide when to stop early."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelworks.objectives.base import Objective
    from modelworks.training.config import TrainConfig

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Tracks the best epoch by `train.monitor`. Its state is part of every checkpoint."""

    def __init__(self, config: TrainConfig, objective: Objective) -> None:
        self._config = config
        metric = objective.metrics.get(config.monitor.removeprefix("validation_"))
        self._sign = -1 if metric is not None and metric.better == "max" else 1
        self._value, self._last_step, self._num_worse = math.inf, 0, 0
        self.best_step = 0
        """The step at which the best epoch ended; 0 before the first epoch ends."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"value": self._value, "seen": self._last_step, "since": self._num_worse, "step": self.best_step}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore the state of a checkpoint."""
        self._value, self._last_step = state["value"], state["seen"]
        self._num_worse, self.best_step = state["since"], state["step"]

    def update(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Record an epoch that ended at a step; return True when it is the best so far.

        An epoch that was already recorded or has no metrics is ignored.
        """
        if step <= self._last_step or not metrics:
            return False
        self._last_step = step
        value = metrics[self._config.monitor] * self._sign
        if value < self._value:
            self._value, self._num_worse, self.best_step = value, 0, step
            return True
        self._num_worse += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether the last `train.patience` epochs were no better than the best."""
        return 0 < self._config.patience <= self._num_worse

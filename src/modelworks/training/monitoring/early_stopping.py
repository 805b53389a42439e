"""Keep the best epoch, and say when to stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelworks.training.config import TrainConfig

__all__ = ["Best"]


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

"""Compute the learning rate of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelworks.training.config import TrainConfig

__all__ = ["learning_rate"]


def learning_rate(config: TrainConfig, num_steps: int) -> Callable[[int], float]:
    """Return a function from the step, counted from 0, to its learning rate.

    The rate rises linearly during the warm-up and then follows `config.schedule`. `one_cycle` follows a cosine in both
    phases and starts at 1/25 of the maximum rate (Smith & Topin 2017, arXiv:1708.07120).

    Args:
        num_steps: optimizer steps of the training.
    """
    warmup = config.warmup * num_steps

    def rate(step: int) -> float:
        if step < warmup:
            share = step / warmup
            if config.schedule == "one_cycle":
                return config.learning_rate * (0.04 + 0.96 * (1 - math.cos(math.pi * share)) / 2)
            return config.learning_rate * max(share, 1 / (warmup + 1))
        if config.schedule == "constant":
            return config.learning_rate
        share = (step - warmup) / max(1.0, num_steps - warmup)
        return config.learning_rate * (1 + math.cos(math.pi * min(1.0, share))) / 2

    return rate

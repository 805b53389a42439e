"""Exponential moving average of the weights (Polyak & Juditsky 1992)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Average", "make_average"]


def make_average(model: nn.Module, decay: float) -> Average:
    """Return the average with a decay per step; for 0 the model itself."""
    return _Exponential(model, decay) if decay else Average(model)


class Average:
    """No average: the model itself is validated and saved."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        """The model to validate."""

    def update(self) -> None:
        """Include the weights after a step."""

    def store(self) -> None:
        """Copy the average into the model."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Do nothing."""


class _Exponential(Average):
    """Uses torch's AveragedModel with an own update.

    AveragedModel's update synchronises with the GPU and averages integer buffers.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._source, self._decay = model, decay
        self._averaged = AveragedModel(model)
        self._average_lists = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        super().__init__(self._averaged.module)

    @torch.no_grad()
    def update(self) -> None:
        first = not self._averaged.n_averaged
        averages, weights = tuple(self.model.parameters()), tuple(self._source.parameters())
        if first:
            for each, weight in zip(averages, weights, strict=True):
                each.copy_(weight)
        else:
            self._average_lists(averages, weights, self._averaged.n_averaged)
        for average, buffer in zip(self.model.buffers(), self._source.buffers(), strict=True):
            if first or not buffer.is_floating_point():
                average.copy_(buffer)
            else:
                average.lerp_(buffer, 1 - self._decay)
        self._averaged.n_averaged += 1

    def store(self) -> None:
        self._source.load_state_dict(self._averaged.module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return dict(self._averaged.state_dict())

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._averaged.load_state_dict(state)

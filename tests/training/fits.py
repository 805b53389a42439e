"""Small networks to train, for tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from modelworks.training.loop import Trained

Fit = Callable[..., tuple[nn.Module, Trained]]


class Linear(nn.Module):
    """A linear network without a memory limit."""

    most = 1000

    def __init__(self, *more: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 2), *more)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.training and len(pixels) > self.most:
            raise torch.OutOfMemoryError(f"no room for {len(pixels)}")
        return self.layers(pixels)  # type: ignore[no-any-return]  # nn.Module calls are untyped


def distance(one: nn.Module, two: nn.Module) -> float:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max(float((first - second).detach().abs().max()) for first, second in pairs)

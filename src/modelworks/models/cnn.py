"""A small convolutional network after LeNet-5 (LeCun et al. 1998), for images of any size.

This file is copied into saved models: it imports from this project by relative imports only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["assets", "build", "configure", "initialise"]


class Cnn(nn.Module):
    """Two 3x3 convolutions (32, 64), each with ReLU and 2x2 pooling, then one hidden layer."""

    def __init__(
        self, *, channels: int, height: int, width: int, hidden: int, dropout: float, num_outputs: int
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            # Pooling and ReLU commute; pooling first leaves ReLU a quarter of the values.
            # With ceil_mode an image one pixel high or wide keeps one pixel after both poolings.
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),
            nn.Flatten(),
        )
        pooled = nn.Sequential(*(each for each in self.features if isinstance(each, nn.MaxPool2d)))
        flattened = 64 * pooled(torch.zeros(1, 1, height, width)).numel()
        self.classifier = nn.Sequential(
            nn.Linear(flattened, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, num_outputs)
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pixels (n, channels, height, width) to outputs (n, num_outputs)."""
        return self.classifier(self.features(pixels))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def configure(section: Mapping[str, Any], _checkpoint: Path | None) -> dict[str, Any]:
    """Return the fields of the config that are saved with the model."""
    return {"hidden": section["hidden"], "dropout": section["dropout"]}


def assets(_checkpoint: Path | None) -> dict[str, bytes]:
    """Return no files: the architecture needs none."""
    return {}


def build(config: Mapping[str, Any], shape: Mapping[str, int], num_outputs: int, output: str = "example") -> nn.Module:
    """Return the network with randomly initialised weights, channels last in memory."""
    assert output == "example", output
    return Cnn(**shape, **config, num_outputs=num_outputs).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack memory_format alone


def initialise(_model: nn.Module, _checkpoint: Path | None) -> None:
    """Keep the random initial weights."""

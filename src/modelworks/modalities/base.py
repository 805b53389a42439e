"""The interface of a modality: how one kind of input becomes a model's tensors."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    import numpy as np
    import torch

__all__ = ["Processor", "processor_class"]


class Processor(Protocol):
    """What the `Processor` of every modality can do. One instance belongs to one model."""

    kind: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    """Fields of the `model:` section that `fit` reads."""
    libraries: ClassVar[tuple[str, ...]]
    """Distributions that `decode` depends on."""
    fact_libraries: ClassVar[tuple[str, ...]]
    """Distributions that the facts which validation takes from a content depend on."""
    resident: ClassVar[tuple[str, ...]]
    """Names of the arrays that may live on the device."""
    augmentations: ClassVar[tuple[str, ...]]
    """Fields of `train.augment` that it knows."""
    has_tokens: ClassVar[bool]
    """Whether rows have lengths in tokens, so that `train.batch_tokens` can count them."""
    spec: dict[str, Any]
    """JSON that is kept with the model."""

    def __init__(self, spec: Mapping[str, Any], folder: Path | None = None) -> None:
        """Make it again from what a model keeps: the spec, and the files that `save` wrote."""

    @classmethod
    def fit(cls, contents: Collection[Any], settings: Mapping[str, Any], assets: Mapping[str, bytes]) -> Processor:
        """Learn it from the contents of the training rows alone.

        Args:
            contents: gone through any number of times.
            settings: the `model:` section of the config.
            assets: files that come with the architecture, by name.
        """
        ...

    @property
    def shape(self) -> dict[str, int]:
        """What an architecture must know of its input."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `spec` cannot hold."""

    def decode(self, contents: Any) -> dict[str, np.ndarray]:
        """Contents of some rows to arrays, which rows of other calls can be appended to."""
        ...

    def arrange(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Decoded arrays to tensors that `collate` slices."""
        ...

    def lengths(self, arrays: Mapping[str, torch.Tensor]) -> np.ndarray | None:
        """Tokens of each row; None where all rows cost the same."""
        ...

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """The model's input for some rows, by the names of the network's arguments."""
        ...

    def augment(self, inputs: Mapping[str, torch.Tensor], config: Any) -> dict[str, torch.Tensor]:
        """The input of a training batch, varied as `train.augment` says, on its device."""
        ...


def processor_class(kind: str) -> type[Processor]:
    """The processor of a modality; imports no library."""
    found: type[Processor] = importlib.import_module(f"{__package__}.{kind}").Processor
    return found

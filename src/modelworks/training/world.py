"""The processes of one training: which of them this is, and what they must agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["World"]


class World:
    """A training in one process. What it says of several is what `Several` overrides."""

    rank = 0
    size = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what only one may write."""
        return self.rank == 0

    def part(self, batch: np.ndarray) -> np.ndarray:
        """This process's share of a batch."""
        return batch

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Each wish that any process has: all of them stop, report and save at the same step."""
        return wishes

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        return tensor

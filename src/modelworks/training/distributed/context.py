"""The processes of one training: which of them this is, and what they must agree on."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from torch import nn

    from modelworks.training.hardware import Hardware

__all__ = ["World", "join"]

T = TypeVar("T")


class World:
    """A training in one process. What it says of several is what `Several` and `Sharded` override."""

    rank = 0
    size = 1
    sharded = False
    """Whether each process holds only a part of every parameter."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes what only one may write."""
        return self.rank == 0

    def part(self, batch: np.ndarray) -> np.ndarray:
        """This process's share of a batch; all of a batch that has less rows than there are processes."""
        return batch

    def copies(self, batch: np.ndarray) -> int:
        """How many processes have each row of a batch in their `part` of it."""
        return 1

    def min_rows(self, batch: np.ndarray) -> int:
        """How many rows of a batch the process has that has fewest."""
        return len(batch)

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Each wish that any process has: all of them stop, report and save at the same step."""
        return wishes

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        return tensor

    def broadcast(self, value: T) -> T:
        """What the leading process says; the value of the others is not looked at."""
        return value

    def all_gather(self, value: T) -> list[T]:
        """Every process's value, by rank."""
        return [value]

    def wait(self) -> None:
        """Go on when all processes have come here."""

    def shard(self, *models: nn.Module) -> None:
        """Leave to each process its part of the parameters; before there is an optimizer of them."""

    def parallel(self, model: nn.Module) -> nn.Module:
        """What is called in place of a model, so that its gradients are the mean over all processes."""
        return model

    def accumulating(self, model: nn.Module, more: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a part of a batch: when more of it follow, gradients stay here.

        Args:
            model: what `parallel` gave.
            more: whether this is not the last part.
        """
        return nullcontext()

    def local(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part of a parameter that lies here."""
        return tensor

    def whole(self, model: nn.Module) -> dict[str, Any] | None:
        """The full state of a sharded model, for the process that leads; None when the model has it itself."""
        return None


def join(hardware: Hardware, work: Path) -> World:
    """The world of the process, as its environment describes it: RANK, WORLD_SIZE and so on, as torchrun sets them.

    Args:
        work: the training's folder, in which processes of one machine find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    from modelworks.training.distributed.ddp import meet

    return meet(hardware, work)

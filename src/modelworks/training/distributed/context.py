"""The processes of a training and their collective operations."""

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
    """A training in one process; `DDPWorld` and `FSDPWorld` override its methods for several."""

    rank = 0
    size = 1
    sharded = False
    """Whether each process holds only a part of every parameter."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def part(self, batch: np.ndarray) -> np.ndarray:
        """Return this process's share of a batch; all of it if it has fewer rows than processes."""
        return batch

    def copies(self, batch: np.ndarray) -> int:
        """Return how many processes have each row of a batch in their `part`."""
        return 1

    def min_rows(self, batch: np.ndarray) -> int:
        """Return the size of the smallest share of a batch."""
        return len(batch)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set in any process."""
        return flags

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all processes, in place."""
        return tensor

    def broadcast(self, value: T) -> T:
        """Return rank 0's value."""
        return value

    def all_gather(self, value: T) -> list[T]:
        """Return every process's value, by rank."""
        return [value]

    def barrier(self) -> None:
        """Wait until all processes call this."""

    def shard(self, *models: nn.Module) -> None:
        """Shard the parameters over the processes; call it before creating an optimizer."""

    def parallel(self, model: nn.Module) -> nn.Module:
        """Wrap a model so that its gradients are the mean over all processes."""
        return model

    def accumulating(self, model: nn.Module, more: bool) -> AbstractContextManager[None]:
        """Return a context for a micro-batch that skips the gradient synchronisation if more follow.

        Args:
            model: as returned by `parallel`.
            more: whether more micro-batches of this batch follow.
        """
        return nullcontext()

    def local(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return this process's shard of a parameter."""
        return tensor

    def full_state_dict(self, model: nn.Module) -> dict[str, Any] | None:
        """Return a sharded model's full state on rank 0; None if the model is not sharded."""
        return None


def join(hardware: Hardware, work: Path) -> World:
    """Return the world described by torchrun's environment variables (RANK, WORLD_SIZE, ...).

    Args:
        work: the training's folder, for the rendezvous of processes on one machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    from modelworks.training.distributed.ddp import init_world

    return init_world(hardware, work)

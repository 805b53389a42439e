"""Data-parallel training with torch.distributed."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch's stubs lack it
from torch.nn.parallel import DistributedDataParallel

from modelworks.training.distributed.context import World

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import nn

    from modelworks.training.hardware import Hardware

__all__ = ["BACKENDS", "DDPWorld", "init_world", "make_world"]

T = TypeVar("T")


def init_world(hardware: Hardware, work: Path) -> World:
    """Initialise the process group; return when all processes have joined."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if hardware.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if size == int(os.environ["LOCAL_WORLD_SIZE"]):
        # On one machine use a file for the rendezvous, so that nothing listens beyond the loopback interface.
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo" if sys.platform.startswith("linux") else "lo0")
        # Each attempt has its own file, because a killed one does not delete it.
        attempt = f"{os.environ['TORCHELASTIC_RUN_ID']}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        store = FileStore(str(work / f"rendezvous-{attempt}"), size)
        dist.init_process_group(BACKENDS[hardware.device], store=store, rank=rank, world_size=size)
    else:
        dist.init_process_group(BACKENDS[hardware.device], init_method="env://")
    return make_world(hardware)


def make_world(hardware: Hardware) -> World:
    """Return the world of the current process group."""
    if dist.get_world_size() == 1:
        return World()
    if hardware.shard:
        from modelworks.training.distributed.fsdp import FSDPWorld

        return FSDPWorld(hardware.device)
    return DDPWorld()


BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""By device. On GPUs `any` uses gloo, so that it does not synchronise with the GPU."""


class DDPWorld(World):
    """Several processes, each with a replica of the model (DistributedDataParallel)."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def part(self, batch: np.ndarray) -> np.ndarray:
        return batch if len(batch) < self.size else batch[self.rank :: self.size]

    def copies(self, batch: np.ndarray) -> int:
        return self.size if len(batch) < self.size else 1

    def min_rows(self, batch: np.ndarray) -> int:
        return len(batch) if len(batch) < self.size else len(batch) // self.size

    def any(self, *flags: bool) -> tuple[bool, ...]:
        tensor = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in tensor.tolist())

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        dist.all_reduce(tensor)
        return tensor

    def broadcast(self, value: T) -> T:
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def all_gather(self, value: T) -> list[T]:
        values: list[T] = [value] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        self.any(False)

    def parallel(self, model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model)

    def accumulating(self, model: nn.Module, more: bool) -> AbstractContextManager[None]:
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync() if more else nullcontext()

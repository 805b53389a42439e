"""Shard a model over processes (FSDP2, `fully_shard`), and save and load its shards.

Sharded states are stored with torch.distributed.checkpoint, whose metadata is a pickle: verify the digests of its files
before reading them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from modelworks.training.distributed.ddp import DDPWorld

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

__all__ = ["SHARDED_PARTS", "FSDPWorld", "read_shards", "write_shards"]

SHARDED_PARTS = ("model", "optimizer", "average")
"""The parts of a training's state that are sharded with the model."""


class FSDPWorld(DDPWorld):
    """Several processes, each with a shard of every parameter, gradient and optimizer state."""

    sharded = True

    def __init__(self, device: str) -> None:
        super().__init__()
        self._mesh = init_device_mesh(device, (self.size,))

    def shard(self, *models: nn.Module) -> None:
        for model in dict.fromkeys(models):
            # Blocks are gathered one at a time, each while the previous one is computed.
            for each in reversed([each for each in model.modules() if isinstance(each, nn.ModuleList)]):
                for block in each:
                    fully_shard(block, mesh=self._mesh)
            # Reshard after forward, because an evaluation has no backward.
            fully_shard(model, mesh=self._mesh, reshard_after_forward=True)

    def parallel(self, model: nn.Module) -> nn.Module:
        return model  # already wrapped by `shard`

    def accumulating(self, model: nn.Module, more: bool) -> AbstractContextManager[None]:
        assert isinstance(model, FSDPModule)
        model.set_requires_gradient_sync(not more)
        return nullcontext()

    def local(self, tensor: torch.Tensor) -> torch.Tensor:
        assert isinstance(tensor, DTensor)
        return tensor.to_local()

    def full_state_dict(self, model: nn.Module) -> dict[str, Any] | None:
        return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def write_shards(folder: Path, parts: Mapping[str, Any]) -> None:
    """Write this process's shards of every part; a collective operation."""
    try:
        save(_states(parts), storage_writer=FileSystemWriter(folder, sync_files=False))  # the store syncs
    except CheckpointException as error:
        raise _cause(error) from None


def read_shards(folder: Path, parts: Mapping[str, Any]) -> None:
    """Load parts written by any number of processes; "optimizer" requires "model"."""
    states = _states(parts)
    load(states, storage_reader=FileSystemReader(folder))
    for name, state in states.items():
        if name == "model":
            set_model_state_dict(parts["model"], state)
        elif name == "optimizer":
            set_optimizer_state_dict(parts["model"], parts["optimizer"], optim_state_dict=state)
        else:
            parts[name].load_state_dict(state)


def _states(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states by parameter name, which does not depend on the sharding."""
    states: dict[str, Any] = {}
    for name, part in parts.items():
        if name == "model":
            states[name] = get_model_state_dict(part)
        elif name == "optimizer":
            states[name] = get_optimizer_state_dict(parts["model"], part)
        else:
            states[name] = part.state_dict()
    return states


def _cause(error: CheckpointException) -> BaseException:
    """Return the original error of the first process that failed, e.g. an OSError."""
    failure, _ = next(iter(error.failures.values()))
    return failure

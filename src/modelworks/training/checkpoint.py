"""Write checkpoints atomically and resume from the newest intact one."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
import torch

from modelworks.errors import Corrupt
from modelworks.files.atomic_files import disk_errors
from modelworks.files.manifests import damage, read_manifest
from modelworks.pipeline.stage_store import StageStore
from modelworks.training.distributed.context import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Checkpoints", "Stateful", "random_states"]

KEPT = 2
SHARDS = "shards"
"""Folder that torch.distributed.checkpoint writes inside a checkpoint if parameters are sharded."""


class Stateful(Protocol):
    """A part of the training state."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Checkpoints:
    """The folders `step-N/` of one training.

    Its methods are collective: all processes call them.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        skipped: Callable[[int], None] = lambda step: None,
        world: World | None = None,
    ) -> None:
        """
        Args:
            folder: used by this training only.
            key: of the training.
            skipped: called with the step of each damaged checkpoint that is skipped.
            world: the training's processes; None for a single one.
        """
        self._folder, self._key, self._skipped, self._world = folder, key, skipped, world or World()

    def save(self, step: int, parts: Mapping[str, Stateful], keep: int = 0) -> None:
        """Write the state of every part and delete old checkpoints.

        The last two checkpoints and that of step `keep` stay.

        Raises:
            Unavailable: writing fails; earlier checkpoints stay.
        """
        sharded = _sharded(parts) if self._world.sharded else {}
        states = {name: part.state_dict() for name, part in parts.items() if name not in sharded}
        if self._world.is_main:
            store = StageStore(self._folder.parent)
            name, num_bytes = f"step-{step}", _num_bytes(states)
            with (
                store.write(self._folder.name, name, {"training": self._key}) as temporary,
                disk_errors(self._folder / name, num_bytes),
            ):
                with (temporary / "state.pt").open("wb") as stream:
                    _save(states, stream)
                self._save_shards(temporary, sharded)
            for old in self._newest_first()[KEPT:]:
                if _step(old) != keep:
                    shutil.rmtree(old)
        else:
            self._save_shards(Path(), sharded)
        self._world.barrier()

    def restore(self, parts: Mapping[str, Stateful]) -> int:
        """Load every part from the newest intact checkpoint and return its step; 0 if there is none."""
        step = self._world.broadcast(self._newest_intact() if self._world.is_main else 0)
        if step:
            self._load(step, parts)
        return step

    def load(self, step: int, parts: Mapping[str, Stateful]) -> None:
        """Load some parts from the checkpoint of a step.

        Raises:
            Corrupt: the checkpoint is damaged.
        """
        folder = self._folder / f"step-{step}"
        if not self._is_intact(folder):
            raise Corrupt(
                f"the best checkpoint, {folder}, is damaged: {damage(folder)}",
                f"delete {self._folder.parent} and run again",
                code="training.checkpoint-damaged",
            )
        self._load(step, parts)

    def _newest_intact(self) -> int:
        """Delete damaged and incomplete checkpoints and return the step of the newest one left."""
        for temporary in self._folder.glob(".*"):
            shutil.rmtree(temporary)
        for folder in self._newest_first():
            if self._is_intact(folder):
                return _step(folder)
            self._skipped(_step(folder))
            shutil.rmtree(folder)
        return 0

    def _load(self, step: int, parts: Mapping[str, Stateful]) -> None:
        folder = self._folder / f"step-{step}"
        states = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        sharded = _sharded(parts) if (folder / SHARDS).exists() else {}
        if sharded:
            from modelworks.training.distributed.fsdp import read_shards

            read_shards(folder / SHARDS, sharded)
        for name, part in parts.items():
            if name not in sharded:
                part.load_state_dict(states[name])

    def _save_shards(self, folder: Path, parts: Mapping[str, Stateful]) -> None:
        """Write this process's shards into rank 0's folder."""
        if parts:
            from modelworks.training.distributed.fsdp import write_shards

            write_shards(self._world.broadcast(folder) / SHARDS, parts)

    def _is_intact(self, folder: Path) -> bool:
        manifest = read_manifest(folder)
        return manifest is not None and manifest["ingredients"] == {"training": self._key}

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), key=_step, reverse=True)


def random_states(world: World) -> dict[str, Stateful]:
    """Return the state of every random number generator that a model may use, in each process."""
    return {
        "random_python": _Random(random.getstate, _set_python, world),
        "random_numpy": _Random(_numpy, _set_numpy, world),
        "random_torch": _Random(torch.get_rng_state, torch.set_rng_state, world),
        "random_cuda": _Random(_cuda, lambda states: torch.cuda.set_rng_state_all(states) if states else None, world),
    }


class _Random:
    def __init__(self, get: Callable[[], Any], put: Callable[[Any], None], world: World) -> None:
        self._get, self._put, self._world = get, put, world

    def state_dict(self) -> dict[str, Any]:
        return {"by_rank": self._world.all_gather(self._get())}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        # Processes beyond the number at the checkpoint keep their initial seeds.
        if self._world.rank < len(state["by_rank"]):
            self._put(state["by_rank"][self._world.rank])


def _set_python(state: Any) -> None:
    version, words, gauss = state
    random.setstate((version, tuple(words), gauss))


def _numpy() -> dict[str, Any]:
    """Return the state of NumPy's global generator as a tensor, which loads without pickle."""
    state: dict[str, Any] = dict(np.random.get_state(legacy=False))  # the legacy global generator
    words = torch.from_numpy(state["state"]["key"].astype(np.int64))
    return {**state, "state": {"key": words, "pos": state["state"]["pos"]}}


def _set_numpy(state: Any) -> None:
    words = state["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**state, "state": {**state["state"], "key": words}})


def _cuda() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _sharded(parts: Mapping[str, Stateful]) -> dict[str, Stateful]:
    """Return the parts that are sharded with the model."""
    from modelworks.training.distributed.fsdp import SHARDED_PARTS

    return {name: part for name, part in parts.items() if name in SHARDED_PARTS}


def _num_bytes(state: Any) -> int:
    """Return the size of all tensors in a state."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    items = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(_num_bytes, items))


def _save(state: dict[str, Any], stream: BinaryIO) -> None:
    try:
        torch.save(state, stream)
    except RuntimeError as error:
        # After a failed write torch's zip writer raises a second error when it closes: report the first.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))

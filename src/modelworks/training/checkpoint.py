"""Checkpoints: complete, written aside and named last; the newest intact one is where a training goes on."""

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
"""The folder in a checkpoint that torch.distributed.checkpoint writes, when parameters are sharded."""


class Stateful(Protocol):
    """A part of a training that the steps to come depend on."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Checkpoints:
    """The folders `step-N/` of one training, of which nobody else writes any. All its processes call alike."""

    def __init__(
        self,
        folder: Path,
        key: str,
        skipped: Callable[[int], None] = lambda step: None,
        world: World | None = None,
    ) -> None:
        """
        Args:
            folder: theirs alone.
            key: of the training.
            skipped: told the step of each damaged checkpoint that is passed over.
            world: the training's processes; None for one.
        """
        self._folder, self._key, self._skipped, self._world = folder, key, skipped, world or World()

    def save(self, step: int, parts: Mapping[str, Stateful], keep: int = 0) -> None:
        """Write the state of every part, then drop all but the last two and that of the step to keep.

        Raises:
            Unavailable: the disk is full or broken; the checkpoints before stay.
        """
        divided = _divided(parts) if self._world.sharded else {}
        states = {name: part.state_dict() for name, part in parts.items() if name not in divided}
        if self._world.is_main:
            store = StageStore(self._folder.parent)
            name, needs = f"step-{step}", _num_bytes(states)
            with (
                store.write(self._folder.name, name, {"training": self._key}) as aside,
                disk_errors(self._folder / name, needs),
            ):
                with (aside / "state.pt").open("wb") as stream:
                    _save(states, stream)
                self._save_shards(aside, divided)
            for old in self._newest_first()[KEPT:]:
                if _step(old) != keep:
                    shutil.rmtree(old)
        else:
            self._save_shards(Path(), divided)
        self._world.wait()

    def restore(self, parts: Mapping[str, Stateful]) -> int:
        """Load every part from the newest intact checkpoint and return its step; 0 when there is none."""
        step = self._world.broadcast(self._newest_intact() if self._world.is_main else 0)
        if step:
            self._load(step, parts)
        return step

    def load(self, step: int, parts: Mapping[str, Stateful]) -> None:
        """Load some parts as they were at a step.

        Raises:
            Corrupt: that checkpoint is not intact any more.
        """
        folder = self._folder / f"step-{step}"
        if not self._is_intact(folder):
            raise Corrupt(
                f"{folder}, the best checkpoint, is damaged: {damage(folder)}",
                f"delete {self._folder.parent} and run again",
                code="training.checkpoint-damaged",
            )
        self._load(step, parts)

    def _newest_intact(self) -> int:
        """Its step; what is damaged or half written goes."""
        for aside in self._folder.glob(".*"):
            shutil.rmtree(aside)
        for folder in self._newest_first():
            if self._is_intact(folder):
                return _step(folder)
            self._skipped(_step(folder))
            shutil.rmtree(folder)
        return 0

    def _load(self, step: int, parts: Mapping[str, Stateful]) -> None:
        folder = self._folder / f"step-{step}"
        states = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        divided = _divided(parts) if (folder / SHARDS).exists() else {}
        if divided:
            from modelworks.training.distributed.fsdp import read_shards

            read_shards(folder / SHARDS, divided)
        for name, part in parts.items():
            if name not in divided:
                part.load_state_dict(states[name])

    def _save_shards(self, aside: Path, divided: Mapping[str, Stateful]) -> None:
        """Every process writes into the folder that the leading one has made."""
        if divided:
            from modelworks.training.distributed.fsdp import write_shards

            write_shards(self._world.broadcast(aside) / SHARDS, divided)

    def _is_intact(self, folder: Path) -> bool:
        manifest = read_manifest(folder)
        return manifest is not None and manifest["ingredients"] == {"training": self._key}

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), key=_step, reverse=True)


def random_states(world: World) -> dict[str, Stateful]:
    """Every generator of random numbers that a model may draw from, in each process."""
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
        # With more processes than there were, the new ones keep the seeds they began with.
        if self._world.rank < len(state["by_rank"]):
            self._put(state["by_rank"][self._world.rank])


def _set_python(state: Any) -> None:
    version, words, gauss = state
    random.setstate((version, tuple(words), gauss))


def _numpy() -> dict[str, Any]:
    """The state of NumPy's global generator, its words as a tensor: a checkpoint holds nothing that needs pickle."""
    state: dict[str, Any] = dict(np.random.get_state(legacy=False))  # it is the global one that is kept
    words = torch.from_numpy(state["state"]["key"].astype(np.int64))
    return {**state, "state": {"key": words, "pos": state["state"]["pos"]}}


def _set_numpy(state: Any) -> None:
    words = state["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**state, "state": {**state["state"], "key": words}})


def _cuda() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _divided(parts: Mapping[str, Stateful]) -> dict[str, Stateful]:
    """The parts that are sharded with the model."""
    from modelworks.training.distributed.fsdp import DIVIDED

    return {name: part for name, part in parts.items() if name in DIVIDED}


def _num_bytes(state: Any) -> int:
    """Of all tensors in a state."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    inside = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(_num_bytes, inside))


def _save(state: dict[str, Any], stream: BinaryIO) -> None:
    try:
        torch.save(state, stream)
    except RuntimeError as error:
        # Once the disk has refused, torch's zip writer stumbles over its own end: the first error is the one to tell.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))

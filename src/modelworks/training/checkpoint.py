"""Checkpoints: complete, written aside and named last; the newest intact one is where a training goes on."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
import torch

from modelworks.errors import Corrupt
from modelworks.store import StageStore, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Checkpoints", "Stateful", "random_states"]

KEPT = 2


class Stateful(Protocol):
    """A part of a training that the steps to come depend on."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Checkpoints:
    """The folders `step-N/` of one training, of which nobody else writes any."""

    def __init__(self, folder: Path, key: str, skipped: Callable[[int], None] = lambda step: None) -> None:
        """
        Args:
            folder: theirs alone.
            key: of the training.
            skipped: told the step of each damaged checkpoint that is passed over.
        """
        self._folder, self._key, self._skipped = folder, key, skipped

    def save(self, step: int, parts: Mapping[str, Stateful], keep: int = 0) -> None:
        """Write the state of every part, then drop all but the last two and that of the step to keep."""
        store = StageStore(self._folder.parent)
        writing = store.write(self._folder.name, f"step-{step}", {"training": self._key})
        with writing as aside, (aside / "state.pt").open("wb") as stream:
            _save({name: part.state_dict() for name, part in parts.items()}, stream)
        for old in self._newest_first()[KEPT:]:
            if _step(old) != keep:
                shutil.rmtree(old)

    def restore(self, parts: Mapping[str, Stateful]) -> int:
        """Load every part from the newest intact checkpoint and return its step; 0 when there is none."""
        for aside in self._folder.glob(".*"):
            shutil.rmtree(aside)
        for folder in self._newest_first():
            if not self._is_intact(folder):
                self._skipped(_step(folder))
                shutil.rmtree(folder)
                continue
            state = _load(folder)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            return _step(folder)
        return 0

    def read(self, step: int, name: str) -> dict[str, Any]:
        """The state of one part as it was at a step.

        Raises:
            Corrupt: that checkpoint is not intact any more.
        """
        folder = self._folder / f"step-{step}"
        if not self._is_intact(folder):
            raise Corrupt(f"{folder}, the best checkpoint, is damaged", f"delete {self._folder.parent} and run again")
        return dict(_load(folder)[name])

    def _is_intact(self, folder: Path) -> bool:
        manifest = read_manifest(folder)
        return manifest is not None and manifest["ingredients"] == {"training": self._key}

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), key=_step, reverse=True)


def random_states() -> dict[str, Stateful]:
    """Every generator of random numbers that a model may draw from."""
    return {
        "random_python": _Random(random.getstate, _set_python),
        "random_numpy": _Random(_numpy, _set_numpy),
        "random_torch": _Random(torch.get_rng_state, torch.set_rng_state),
        "random_cuda": _Random(_cuda, lambda states: torch.cuda.set_rng_state_all(states) if states else None),
    }


class _Random:
    def __init__(self, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
        self._get, self._put = get, put

    def state_dict(self) -> dict[str, Any]:
        return {"state": self._get()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._put(state["state"])


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


def _load(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "state.pt", map_location="cpu", weights_only=True))


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

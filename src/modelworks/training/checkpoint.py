"""Checkpoints: complete, written aside and named last; the newest intact one is where a training goes on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from modelworks.store import StageStore, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

__all__ = ["Checkpoints"]

KEPT = 2


class Checkpoints:
    """The folders `step-N/` of one training, of which nobody else writes any."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Mapping[str, float]
    ) -> None:
        """Write everything that the steps to come depend on, then drop all but the last two."""
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "progress": dict(progress),
        }
        store = StageStore(self._folder.parent)
        writing = store.write(self._folder.name, f"step-{step}", {"training": self._key})
        with writing as aside, (aside / "state.pt").open("wb") as stream:
            _save(state, stream)
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old)

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, float]]:
        """Load the newest intact checkpoint; (0, {}) when there is none. Returns its step and progress."""
        for aside in self._folder.glob(".*"):
            shutil.rmtree(aside)
        for folder in self._newest_first():
            manifest = read_manifest(folder)
            if manifest is None or manifest["ingredients"] != {"training": self._key}:
                shutil.rmtree(folder)
                continue
            state = torch.load(folder / "state.pt", weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            if state["random_cuda"]:
                torch.cuda.set_rng_state_all(state["random_cuda"])
            return _step(folder), state["progress"]
        return 0, {}

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), key=_step, reverse=True)


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

"""Checkpoints: complete, written aside and named last; the newest intact one is where a training goes on."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelworks.store import publish, read_manifest

__all__ = ["Checkpoints"]

KEPT = 2


class Checkpoints:
    """The folders `step-N/` of one training."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
        """Write everything that the steps to come depend on, then drop all but the last two."""
        aside = Path(tempfile.mkdtemp(prefix=".step-", dir=self._folder))
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "progress": progress,
        }
        torch.save(state, aside / "state.pt")
        publish(aside, self._folder / f"step-{step}", {"key": self._key, "step": step})
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old)

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]]:
        """Load the newest intact checkpoint; (0, {}) when there is none. Returns its step and progress."""
        for aside in self._folder.glob(".*"):
            shutil.rmtree(aside)
        for folder in self._newest_first():
            manifest = read_manifest(folder)
            if manifest is None or manifest["key"] != self._key:
                shutil.rmtree(folder)
                continue
            state = torch.load(folder / "state.pt", weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            if state["random_cuda"]:
                torch.cuda.set_rng_state_all(state["random_cuda"])
            return int(manifest["step"]), state["progress"]
        return 0, {}

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")), reverse=True)

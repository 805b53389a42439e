"""Helpers for tests of training."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelworks.training.hardware import Hardware
from modelworks.training.loop import Stop

CPU = Hardware(device="cpu", precision="fp32", threads=1)


class StopAt(Stop):
    """Requests a stop after a number of steps, as a signal would."""

    def __init__(self, step: int) -> None:
        self.left = step

    @property
    def requested(self) -> int:  # type: ignore[override]  # the loop reads it once per step
        self.left -= 1
        return signal.SIGTERM if self.left == 0 else 0


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


def equal(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)

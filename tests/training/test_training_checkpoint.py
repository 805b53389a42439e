"""Checkpoints: atomic, the newest intact one is loaded, and every part is needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples.trainings import StopAt, equal, events
from torch import nn

from modelworks.training.checkpoint import Checkpoints, _save
from modelworks.training.loop import Stopped, Trained


class Dice(nn.Module):
    """A network whose steps depend on every random number generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.training:
            pixels = pixels * (1 + random.random()) + np.random.rand()  # uses the global generator on purpose
        return self.layers(pixels)  # type: ignore[no-any-return]  # nn.Module calls are untyped


@pytest.fixture
def roll(fit: Callable[..., tuple[nn.Module, Trained]]) -> Callable[..., nn.Module]:
    """Train Dice with seeded generators; a resume starts with another seed, like a new process."""

    def run(folder: str, *, seed: int = 0, **settings: Any) -> nn.Module:
        random.seed(seed)
        np.random.seed(seed)
        return fit(folder, network=Dice, ema=0.9, patience=2, epochs=6, **settings)[0]

    return run


@pytest.mark.parametrize("step", [1, 9, 10, 11, 33, 59])
def test_resume_restores_every_random_generator(roll: Callable[..., nn.Module], step: int) -> None:
    expected = roll("expected")
    with pytest.raises(Stopped):
        roll("work", stop=StopAt(step))
    assert equal(expected, roll("work", seed=99))


@pytest.mark.parametrize(
    "part", ["model", "optimizer", "average", "meter", "random_python", "random_numpy", "random_torch"]
)
def test_every_part_of_a_checkpoint_is_needed(
    roll: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    expected = roll("expected")
    with pytest.raises(Stopped):
        roll("work", stop=StopAt(33))
    restore = Checkpoints.restore

    def forgetful(self: Checkpoints, parts: dict[str, Any]) -> int:
        return restore(self, {name: each for name, each in parts.items() if name != part})

    monkeypatch.setattr(Checkpoints, "restore", forgetful)
    torch.manual_seed(99)
    assert not equal(expected, roll("work", seed=99))


def test_damaged_checkpoint_is_skipped_for_an_older_one(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path
) -> None:
    expected, _ = fit("expected")
    with pytest.raises(Stopped):
        fit(stop=StopAt(13), checkpoint_steps=1)
    folder = tmp_path / "work" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-12", "step-13"]
    state = folder / "step-13" / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    (folder / ".step-14-torn").mkdir()
    resumed, _ = fit()
    assert equal(expected, resumed)
    assert [event["resumed_from"] for event in events(tmp_path / "work") if event["type"] == "start"] == [0, 12]
    assert [event["step"] for event in events(tmp_path / "work") if event["type"] == "damaged"] == [13]


def test_checkpoint_of_another_training_is_not_loaded(tmp_path: Path) -> None:
    parts = {"model": nn.Linear(2, 2)}
    Checkpoints(tmp_path / "checkpoints", "one").save(5, parts)
    assert Checkpoints(tmp_path / "checkpoints", "one").restore(parts) == 5
    assert Checkpoints(tmp_path / "checkpoints", "two").restore(parts) == 0


def test_full_disk_raises_the_original_error() -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
        _save({"tensor": torch.zeros(10_000)}, stream)


def test_checkpoint_steps_and_the_last_two_are_kept(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path
) -> None:
    fit(checkpoint_steps=7)
    recorded = [event["step"] for event in events(tmp_path / "work") if event["type"] == "checkpoint"]
    assert recorded == [7, 14, 21, 28]
    assert sorted(each.name for each in (tmp_path / "work" / "checkpoints").iterdir()) == ["step-21", "step-28"]


def test_checkpoints_are_less_frequent_on_a_slow_disk(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    save = Checkpoints.save

    def slow(self: Checkpoints, *arguments: Any, **named: Any) -> None:
        clock[0] += 10.0
        save(self, *arguments, **named)

    def now() -> float:
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr(Checkpoints, "save", slow)
    monkeypatch.setattr("modelworks.training.loop.time.perf_counter", now)
    fit(epochs=30, checkpoint_seconds=1e-9)
    recorded = [event for event in events(tmp_path / "work") if event["type"] == "checkpoint"]
    assert sum(event["seconds"] for event in recorded) < 0.025 * clock[0]
    assert len(recorded) > 1

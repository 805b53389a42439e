"""Shapes of the learning rate schedules."""

from __future__ import annotations

import pytest

from modelworks.training.config import TrainConfig
from modelworks.training.optimization.lr_schedule import learning_rate


def rates(num_steps: int = 100, **settings: object) -> list[float]:
    config = TrainConfig(epochs=1, learning_rate=0.1, **settings)  # type: ignore[arg-type]  # any of its fields
    rate = learning_rate(config, num_steps)
    return [rate(step) for step in range(num_steps)]


def test_constant_schedule_after_the_warm_up() -> None:
    assert rates(schedule="constant", warmup=0) == [0.1] * 100
    warmed = rates(schedule="constant", warmup=0.2)
    assert warmed[0] > 0
    assert warmed[:20] == sorted(warmed[:20])
    assert warmed[20:] == [0.1] * 80


def test_cosine_schedule_decays_to_zero() -> None:
    plain = rates(schedule="cosine", warmup=0)
    assert plain == sorted(plain, reverse=True)
    assert plain[0] == 0.1
    assert plain[50] == pytest.approx(0.05)
    assert 0 < plain[-1] < 1e-4


def test_one_cycle_schedule_rises_and_falls() -> None:
    cycle = rates(schedule="one_cycle", warmup=0.3)
    assert cycle[0] == pytest.approx(0.1 / 25)
    assert cycle[:31] == sorted(cycle[:31])
    assert cycle[30] == pytest.approx(0.1)
    assert cycle[30:] == sorted(cycle[30:], reverse=True)
    assert 0 < cycle[-1] < 1e-3


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0, 0.1, 0.99])
def test_schedules_of_short_trainings(schedule: str, num_steps: int, warmup: float) -> None:
    found = rates(num_steps, schedule=schedule, warmup=warmup)
    assert all(0 < rate <= 0.1 for rate in found)

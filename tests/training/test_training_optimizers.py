"""Optimizers and schedules are what their names say."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from modelworks.training.config import TrainConfig
from modelworks.training.optimization.lr_schedule import learning_rate
from modelworks.training.optimization.optimizers import make_optimizer


def rates(num_steps: int = 100, **settings: object) -> list[float]:
    config = TrainConfig(epochs=1, learning_rate=0.1, **settings)  # type: ignore[arg-type]  # any of its fields
    rate = learning_rate(config, num_steps)
    return [rate(step) for step in range(num_steps)]


def test_constant_stays_after_its_warm_up() -> None:
    assert rates(schedule="constant", warmup=0) == [0.1] * 100
    warmed = rates(schedule="constant", warmup=0.2)
    assert warmed[0] > 0
    assert warmed[:20] == sorted(warmed[:20])
    assert warmed[20:] == [0.1] * 80


def test_cosine_falls_from_its_highest_to_zero() -> None:
    plain = rates(schedule="cosine", warmup=0)
    assert plain == sorted(plain, reverse=True)
    assert plain[0] == 0.1
    assert plain[50] == pytest.approx(0.05)
    assert 0 < plain[-1] < 1e-4


def test_one_cycle_rises_from_a_twenty_fifth_and_falls() -> None:
    cycle = rates(schedule="one_cycle", warmup=0.3)
    assert cycle[0] == pytest.approx(0.1 / 25)
    assert cycle[:31] == sorted(cycle[:31])
    assert cycle[30] == pytest.approx(0.1)
    assert cycle[30:] == sorted(cycle[30:], reverse=True)
    assert 0 < cycle[-1] < 1e-3


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0, 0.1, 0.99])
def test_short_trainings_have_rates_too(schedule: str, num_steps: int, warmup: float) -> None:
    found = rates(num_steps, schedule=schedule, warmup=warmup)
    assert all(0 < rate <= 0.1 for rate in found)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_norms_and_biases_are_not_decayed(name: str, kind: type[torch.optim.Optimizer]) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    config = TrainConfig(epochs=1, optimizer=name, weight_decay=0.5)  # type: ignore[arg-type]  # one of its names
    optimizer = make_optimizer(model, config)
    assert isinstance(optimizer, kind)
    decays = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert {name: decays[id(parameter)] for name, parameter in model.named_parameters()} == {
        "0.weight": 0.5,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }
    assert all(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimizer_steps_and_is_restored_to_the_bits_of_torchs_own(name: str) -> None:
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    config = TrainConfig(epochs=1, learning_rate=0.1, optimizer=name, weight_decay=0.01, momentum=0.9)  # type: ignore[arg-type]
    more = {"momentum": 0.9} if name == "sgd" else {}
    found: list[torch.Tensor] = []
    for ours in (True, False):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        groups = [{"params": [model.weight], "weight_decay": 0.01}, {"params": [model.bias], "weight_decay": 0.0}]

        def make(
            groups: list[dict[str, object]] = groups, model: nn.Module = model, ours: bool = ours
        ) -> torch.optim.Optimizer:
            return make_optimizer(model, config) if ours else kind(groups, lr=0.1, fused=True, **more)  # type: ignore[arg-type]

        optimizer = make()
        for _ in range(2):
            for _ in range(3):
                model(torch.randn(4, 3)).square().sum().backward()
                optimizer.step()
                model.zero_grad()
            state = optimizer.state_dict()
            optimizer = make()
            optimizer.load_state_dict(state)
        found.append(torch.cat([each.detach().flatten() for each in model.parameters()]))
    assert torch.equal(*found)


STEPS = """
import sys
import torch
from modelworks.training.config import TrainConfig
from modelworks.training.optimization.optimizers import make_optimizer

model = torch.nn.Linear(3, 2)
optimizer = make_optimizer(model, TrainConfig(epochs=1, learning_rate=0.1, optimizer=sys.argv[1]))
model(torch.randn(4, 3)).sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimizer_does_not_import_the_compiler(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", STEPS, name], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

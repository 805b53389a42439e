"""Optimizers use the config's settings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modelworks.training.config import TrainConfig
from modelworks.training.optimization.optimizers import make_optimizer


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_norms_and_biases_have_no_weight_decay(name: str, kind: type[torch.optim.Optimizer]) -> None:
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

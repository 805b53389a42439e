"""Optimizers, and the learning rate as a pure function of the step."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from modelworks.training.config import TrainConfig

__all__ = ["make_optimizer"]


class _Uncompiled(torch.optim.Optimizer):
    """An optimizer that does without torch's compiler.

    Torch wraps these methods so that its compiler leaves them alone, and imports the compiler for it: most of a
    second and a hundred megabytes, at every start.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class _AdamW(_Uncompiled, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class _Sgd(_Uncompiled, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The config's optimizer, fused; norms and biases are not decayed."""
    decayed = [each for each in model.parameters() if each.ndim > 1]
    plain = [each for each in model.parameters() if each.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    # capturable and foreach stay off: fused is the fastest on CPU and GPU alike, and its bits repeat.
    if config.optimizer == "sgd":
        return _Sgd(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    return _AdamW(groups, lr=config.learning_rate, fused=True)

"""The average over the steps: what it includes, and equal to torch's to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from modelworks.models import pretrained
from modelworks.training.optimization.ema import make_average

TINY = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPE = {"vocabulary": 50, "padding": 0, "max_tokens": 40}


def train_a_little(model: nn.Module) -> None:
    with torch.no_grad():
        for each in model.parameters():
            each.add_(torch.randn_like(each))


@pytest.mark.parametrize("decay", [0.9, 0.95, 0.9995, 0.9999])
def test_integer_buffers_are_not_averaged(decay: float) -> None:
    model = pretrained.build({**TINY, "intermediate_size": 8, "vocab_size": 50}, SHAPE, 2)
    average = make_average(model, decay)
    for _ in range(10):
        train_a_little(model)
        average.update()
    places = {name: each for name, each in average.model.named_buffers() if "position_ids" in name}
    assert places
    for each in places.values():
        assert torch.equal(each, torch.arange(each.shape[-1]).expand_as(each))


def test_weights_and_float_buffers_are_averaged_as_in_torch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = make_average(model, 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for _ in range(10):
        train_a_little(model)
        model(torch.randn(5, 3))
        average.update()
        theirs.update_parameters(model)
    ours, expected = average.state_dict(), theirs.state_dict()
    assert ours.keys() == expected.keys()
    assert ours.pop("module.1.num_batches_tracked") == 10 != expected.pop("module.1.num_batches_tracked")
    assert all(torch.equal(ours[name], each) for name, each in expected.items())

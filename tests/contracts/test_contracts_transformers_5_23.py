"""Undocumented structure of transformers 5.23 that modelworks depends on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modelworks.models import pretrained
from modelworks.models.encoder_internals import FIRST_TOKEN_TYPES


@pytest.mark.parametrize("kind", [*sorted(FIRST_TOKEN_TYPES), "distilbert"])
def test_narrowed_last_layer_keeps_logits_and_gradients(tmp_path: Path, kind: str) -> None:
    small = {"model_type": kind, "hidden_size": 8, "dim": 8, "num_attention_heads": 2, "n_heads": 2, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps({**small, "num_hidden_layers": 2, "n_layers": 2}))
    torch.manual_seed(0)
    network = pretrained.build(pretrained.configure({"max_tokens": 8, "dropout": None}, tmp_path), {"padding": 0}, 3)
    network.double().eval()
    unchanged = type(network.encoder)(network.encoder.config).double().eval()
    unchanged.load_state_dict(network.encoder.state_dict())
    tokens = torch.randint(2, 9, (4, 6))
    mask = torch.arange(6) < torch.tensor([[6], [4], [1], [5]])
    tokens[~mask] = 0

    logits, expected = network(tokens, mask), unchanged(input_ids=tokens, attention_mask=mask.long()).logits
    assert torch.allclose(logits, expected, rtol=0, atol=1e-12)
    for each in (logits, expected):
        each.square().sum().backward()
    gradients = {name: each.grad for name, each in unchanged.named_parameters()}
    for name, each in network.encoder.named_parameters():
        if gradients[name] is not None:
            assert torch.allclose(each.grad, gradients[name], rtol=0, atol=1e-12), name
    hidden = network.encoder.base_model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    assert hidden.shape == (4, 1 if kind in FIRST_TOKEN_TYPES else 6, 8)

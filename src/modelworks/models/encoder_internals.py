"""The structure of transformers' BERT-like encoders, whose submodules have no documented names.

`tests/contracts/test_contracts_transformers_5_23.py` compares logits and gradients of every type with those of the
unchanged model. No public call computes a part of a layer. This file is copied into saved models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["FIRST_TOKEN_TYPES", "compute_first_token_only"]

FIRST_TOKEN_TYPES = {"bert", "camembert", "electra", "roberta", "xlm-roberta"}
"""Model types with BERT's layer structure whose sequence classification head reads only the first token."""


def compute_first_token_only(encoder: PreTrainedModel) -> None:
    """Make the last layer compute only the first token after its attention.

    Only valid for a head that reads only the first token. Logits and gradients stay the same, up to rounding; a MiniLM
    step in fp32 takes a tenth less time.
    """
    last = encoder.config.num_hidden_layers - 1
    after_attention = encoder.base_model.get_submodule(f"encoder.layer.{last}.attention.output")
    after_attention.register_forward_pre_hook(_first_token)


def _first_token(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Slice tensors (n, tokens, width) to their first token (n, 1, width)."""
    return tuple(each[:, :1] for each in inputs)

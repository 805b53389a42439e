"""A transformers encoder with a new head, fine-tuned from a checkpoint in safetensors.

This file is copied into saved models: it imports from this project by relative imports only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .encoder_internals import FIRST_TOKEN_TYPES, compute_first_token_only

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["assets", "build", "configure", "initialise"]


class PretrainedClassifier(nn.Module):
    """Wrap a transformers model so that it takes this project's argument names."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map token ids and mask (n, tokens) to outputs (n, num_outputs)."""
        return self.encoder(input_ids=tokens, attention_mask=mask.long()).logits  # type: ignore[no-any-return]  # nn.Module calls are untyped


def configure(section: Mapping[str, Any], checkpoint: Path | None) -> dict[str, Any]:
    """Return the checkpoint's complete configuration.

    The saved model is built from it without the checkpoint.

    Raises:
        ValueError: max_tokens exceeds the checkpoint's positions, or dropout is set and the checkpoint has none.
    """
    assert checkpoint is not None
    config = json.loads((checkpoint / "config.json").read_text())
    for name in ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "auto_map"):
        config.pop(name, None)
    longest = config.get("max_position_embeddings", section["max_tokens"])
    if section["max_tokens"] > longest:
        raise ValueError(f"model.max_tokens: {section['max_tokens']} is more than the checkpoint's {longest} positions")
    return dict(config) if section["dropout"] is None else _with_dropout(config, section["dropout"])


def _with_dropout(config: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Return a configuration with every dropout share set to `share`, including defaults.

    Raises:
        ValueError: the checkpoint's class has no dropout.
    """
    from transformers import AutoConfig

    own = AutoConfig.for_model(**config).to_dict()
    names = [name for name, value in own.items() if "dropout" in name and isinstance(value, int | float)]
    if not names:
        raise ValueError(f"model.dropout: the checkpoint's class, {own['model_type']}, has no dropout")
    return {**config, **dict.fromkeys(names, share)}


def assets(checkpoint: Path | None) -> dict[str, bytes]:
    """Return the checkpoint's tokenizer."""
    assert checkpoint is not None
    return {"tokenizer.json": (checkpoint / "tokenizer.json").read_bytes()}


def build(config: Mapping[str, Any], shape: Mapping[str, int], num_outputs: int, output: str = "example") -> nn.Module:
    """Return the network with randomly initialised weights."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    assert output == "example", output
    configuration = AutoConfig.for_model(**{**config, "num_labels": num_outputs, "pad_token_id": shape["padding"]})
    encoder = AutoModelForSequenceClassification.from_config(configuration, trust_remote_code=False)
    if configuration.model_type in FIRST_TOKEN_TYPES:
        compute_first_token_only(encoder)
    return PretrainedClassifier(encoder)


def initialise(model: nn.Module, checkpoint: Path | None) -> None:
    """Load the checkpoint's encoder; the head keeps its random weights.

    Raises:
        ValueError: tensors of the encoder are missing from the checkpoint.
    """
    from safetensors.torch import load_file

    assert checkpoint is not None
    assert isinstance(model, PretrainedClassifier)
    path = checkpoint / "model.safetensors"
    own = model.encoder.state_dict()
    prefix = str(getattr(model.encoder, "base_model_prefix", "")) + "."
    weights = {}
    for name, tensor in load_file(path).items():
        target = name if name in own else prefix + name
        if target in own and own[target].shape == tensor.shape:
            weights[target] = tensor.to(own[target].dtype)
    missing = [name for name in own if name.startswith(prefix) and name not in weights and "position_ids" not in name]
    # A pooler or a head may be new; an encoder tensor must not be missing.
    missing = [name for name in missing if "pooler" not in name]
    if missing:
        raise ValueError(f"model.checkpoint: {path} lacks {len(missing)} tensors of the encoder, e.g. {missing[0]}")
    model.encoder.load_state_dict(weights, strict=False)

"""A pre-norm self-attention encoder over subwords (Vaswani et al. 2017, arXiv:1706.03762).

This file is copied into saved models: it imports from this project by relative imports only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["assets", "build", "configure", "initialise"]


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each with pre-norm and residual connection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feedforward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map (n, tokens, width) to the same shape; mask (n, tokens), True for tokens to attend to."""
        n, tokens, width = x.shape
        heads = self.project_in(self.norm_attention(x)).view(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :], dropout_p=self.dropout if self.training else 0.0
        )
        x = x + self.drop(self.project_out(attended.transpose(1, 2).reshape(n, tokens, width)))
        return x + self.drop(self.feedforward(self.norm_feedforward(x)))  # type: ignore[no-any-return]  # nn.Module calls are untyped


class Transformer(nn.Module):
    """Token and learned position embeddings, attention layers, masked mean, a linear layer."""

    def __init__(
        self,
        *,
        vocabulary: int,
        padding: int,
        max_tokens: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        num_outputs: int,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=padding)
        self.positions = nn.Embedding(max_tokens, width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_outputs)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map token ids and mask (n, tokens) to outputs (n, num_outputs)."""
        x = self.drop(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]])
        for layer in self.layers:
            x = layer(x, mask)
        real = mask.unsqueeze(-1).to(x.dtype)
        pooled = (self.norm(x) * real).sum(1) / real.sum(1).clamp(min=1)
        return self.classifier(self.drop(pooled))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def configure(section: Mapping[str, Any], _checkpoint: Path | None) -> dict[str, Any]:
    """Return the fields of the config that are saved with the model."""
    return {name: section[name] for name in ("width", "layers", "heads", "dropout")}


def assets(_checkpoint: Path | None) -> dict[str, bytes]:
    """Return no files: the tokenizer is learned from the training texts."""
    return {}


def build(config: Mapping[str, Any], shape: Mapping[str, int], num_outputs: int, output: str = "example") -> nn.Module:
    """Return the network with randomly initialised weights."""
    assert output == "example", output
    return Transformer(**shape, **config, num_outputs=num_outputs)


def initialise(_model: nn.Module, _checkpoint: Path | None) -> None:
    """Keep the random initial weights."""

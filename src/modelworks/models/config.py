"""The catalogue of architectures: the `model:` section of a config, one class per kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

__all__ = ["Cnn", "ModelConfig", "Pretrained", "Transformer"]


@dataclass(frozen=True, kw_only=True)
class Cnn:
    """Two 3x3 convolutions with pooling and one hidden layer, for images of any size and channels."""

    modality = "image"

    kind: Literal["cnn"]
    size: Annotated[int, Field(ge=0)] = 0
    """Height and width that images are brought to; 0 for the training images' most common size, at most 128 a side."""
    hidden: Annotated[int, Field(ge=1)] = 128
    """Units of the hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of hidden units dropped while training."""


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A self-attention encoder over subwords, trained from scratch together with its tokenizer."""

    modality = "text"

    kind: Literal["transformer"]
    vocabulary: Annotated[int, Field(ge=300)] = 8000
    """Largest number of tokens: the 256 bytes, and the subwords learned from the training rows."""
    max_tokens: Annotated[int, Field(ge=4)] = 64
    """Longer texts are cut."""
    width: Annotated[int, Field(ge=4)] = 128
    """Size of a token's vector."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Attention layers, one on the other."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads; divides `width`."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of values dropped while training."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A transformers checkpoint with a new classification head: a package, a local folder or a hub name."""

    modality = "text"

    kind: Literal["pretrained"]
    checkpoint: str
    """`minilm` (the packaged all-MiniLM-L6-v2), a folder with config.json and model.safetensors, or a hub name."""
    revision: str = ""
    """The commit of a hub name, 40 hex digits: required there, so that the same config stays the same model."""
    max_tokens: Annotated[int, Field(ge=4)] = 64
    """Longer texts are cut."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of values dropped while training, everywhere in the encoder; left out for the checkpoint's own shares."""


ModelConfig = Annotated[Cnn | Transformer | Pretrained, Field(discriminator="kind")]

"""The `model:` section of a config, one class per architecture.

A section declares the input, outputs and recommended training settings of its architecture, so that a config is checked
and completed without importing torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast, get_args, get_type_hints

from pydantic import Field

__all__ = ["Cnn", "ModelConfig", "Pretrained", "Transformer", "recommended"]


class Architecture:
    """Attributes that every section declares."""

    modality: ClassVar[str]
    """The kind of input."""
    outputs: ClassVar[tuple[str, ...]] = ("example",)
    """Supported outputs: one vector per row (`example`), or one per token or frame (`position`)."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions besides torch that compute its result."""
    operations: ClassVar[tuple[str, ...]] = ("products",)
    """Its main operations, `products` or `convolutions`; bf16 must be faster in each for `precision: auto`."""
    recommended: ClassVar[Mapping[str, Any]]
    """Defaults for fields of `train:` that a config leaves out."""


@dataclass(frozen=True, kw_only=True)
class Cnn(Architecture):
    """Two 3x3 convolutions with pooling and one hidden layer, for images of any size."""

    modality = "image"
    operations = ("products", "convolutions")
    recommended: ClassVar = {"epochs": 10, "learning_rate": 0.003, "warmup": 0.2}

    kind: Literal["cnn"]
    size: Annotated[int, Field(ge=0)] = 0
    """Height and width that images are resized to; 0 for the training images' most common size, at most 128 a side."""
    hidden: Annotated[int, Field(ge=1)] = 128
    """Units of the hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of hidden units dropped while training."""


@dataclass(frozen=True, kw_only=True)
class Transformer(Architecture):
    """A self-attention encoder over subwords, trained from scratch together with its tokenizer."""

    modality = "text"
    recommended: ClassVar = {"epochs": 5, "learning_rate": 0.001, "weight_decay": 0.05, "clip_norm": 1.0}

    kind: Literal["transformer"]
    vocabulary: Annotated[int, Field(ge=300)] = 8000
    """Maximum vocabulary size: the 256 bytes, and the subwords learned from the training rows."""
    max_tokens: Annotated[int, Field(ge=4)] = 64
    """Longer texts are truncated."""
    width: Annotated[int, Field(ge=4)] = 128
    """Size of a token's vector."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Number of attention layers."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Number of attention heads; must divide `width`."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of values dropped while training."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")


@dataclass(frozen=True, kw_only=True)
class Pretrained(Architecture):
    """A transformers checkpoint with a new head, from a package, a local folder or the hub."""

    modality = "text"
    libraries = ("transformers",)
    # Devlin et al. 2019 (arXiv:1810.04805) fine-tune for 2 to 4 epochs at 2e-5 to 5e-5; ten times that rate destroys
    # the pretrained weights.
    recommended: ClassVar = {"epochs": 3, "batch_size": 32, "learning_rate": 5e-5, "clip_norm": 1.0}

    kind: Literal["pretrained"]
    checkpoint: str
    """`minilm` (the packaged all-MiniLM-L6-v2), a folder with config.json and model.safetensors, or a hub name."""
    revision: str = ""
    """The commit of a hub name, 40 hex digits; required, so that the same config always gives the same model."""
    max_tokens: Annotated[int, Field(ge=4)] = 64
    """Longer texts are truncated."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of values dropped while training, everywhere in the encoder; the checkpoint's own shares if left out."""


ModelConfig = Annotated[Cnn | Transformer | Pretrained, Field(discriminator="kind")]


def recommended(kind: object) -> Mapping[str, Any]:
    """Return the architecture's defaults for `train:`; empty for an unknown kind."""
    for section in get_args(get_args(ModelConfig)[0]):
        if kind in get_args(get_type_hints(section)["kind"]):
            return cast("Mapping[str, Any]", section.recommended)
    return {}

"""The `train:` and `compute:` sections of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from modelworks.bounds import Bounds

__all__ = ["ComputeConfig", "TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are found. The loss is cross-entropy."""

    epochs: Annotated[int, Bounds(ge=1)]
    """Passes over the training rows."""
    batch_size: Annotated[int, Bounds(ge=1)] = 64
    """Examples per optimizer step."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`adamw`, or `sgd` with momentum."""
    learning_rate: Annotated[float, Bounds(gt=0)] = 0.001
    """The highest rate the schedule reaches."""
    momentum: Annotated[float, Bounds(ge=0, lt=1)] = 0.9
    """For `sgd`."""
    weight_decay: Annotated[float, Bounds(ge=0)] = 0.01
    """Pulls weights towards zero; biases and norms are spared."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    """`cosine` falls to zero; `one_cycle` also rises first; `constant` stays, after any warm-up."""
    warmup: Annotated[float, Bounds(ge=0, lt=1)] = 0.1
    """Share of the steps in which the rate rises to its highest."""
    clip_norm: Annotated[float, Bounds(ge=0)] = 0.0
    """Gradients are scaled down to this norm; 0 for never."""
    seed: Annotated[int, Bounds(ge=0, lt=2**31)] = 0
    """Fixes the run: initial weights, order of examples, dropout."""
    checkpoint_seconds: Annotated[float, Bounds(gt=0)] = 30.0
    """A complete checkpoint is written at the first step after this many seconds."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What the training runs on."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU when there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the hardware computes in it."""
    threads: Annotated[int, Bounds(ge=0)] = 0
    """CPU threads; 0 for one per core this process may use. Part of the result: other threads, other last bits."""

"""The `train:` and `compute:` sections of a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

__all__ = ["AugmentConfig", "ComputeConfig", "TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training images are varied, each differently at every epoch."""

    shift: Annotated[int, Field(ge=0)] = 0
    """Moved by up to this many pixels in each direction; what comes in at the edge is blank."""
    flip: bool = False
    """Mirrored left to right, every other one."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Up to this share of each side is cut off, and what is left is brought to the full size."""
    cutout: Annotated[int, Field(ge=0)] = 0
    """Side in pixels of a square blanked at a random place (DeVries & Taylor 2017, arXiv:1708.04552)."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are found. What is left out is as the architecture recommends, or else has these defaults."""

    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training rows."""
    max_steps: Annotated[int, Field(ge=0)] = 0
    """The training ends after this many optimizer steps, if `epochs` does not end it before; 0 for no limit. The
    learning rate's schedule ends there as well, and so does the last epoch, with its validation."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Examples per optimizer step, over all processes."""
    batch_tokens: Annotated[int, Field(ge=0)] = 0
    """Texts only: tokens per optimizer step, padding included, in place of `batch_size`; 0 for a number of examples."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts in which a batch is computed, one after another, to need less memory."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`adamw`, or `sgd` with momentum."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """The highest rate the schedule reaches."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """For `sgd`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Pulls weights towards zero; biases and norms are spared."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    """`cosine` falls to zero; `one_cycle` also rises first; `constant` stays, after any warm-up."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the rate rises to its highest."""
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    """Gradients are scaled down to this norm; 0 for never."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of an exponential average of the weights, which is then the model; 0 for the weights themselves."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Images only."""
    monitor: str = "validation_loss"
    """What `keep` and `patience` go by: `validation_loss`, or `validation_` and a metric of the objective. It needs
    validation rows."""
    keep: Literal["last", "best"] = "last"
    """Whether the model is the last epoch's, or that of the epoch with the best `monitor`."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better `monitor`; 0 for never."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Fixes the run: initial weights, order of examples, dropout, augmentation."""
    deterministic: bool = True
    """Only algorithms whose bits repeat. On a CPU it costs nothing; `false` lets CUDA take faster ones."""
    compile: bool = False
    """Through torch.compile, on a GPU with CUDA graphs; texts are padded to a multiple of 16 tokens. One process only,
    and no batches in parts. It takes a minute before the first step, and on a CPU gains nothing."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A complete checkpoint is written at the first step after this many seconds; later where writing is slow, so that
    it takes no more than a fiftieth of the time."""
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    """One every so many steps as well; 0 for none."""

    def __post_init__(self) -> None:
        if self.compile and self.batch_tokens:
            raise ValueError("compile wants batches of few shapes, and batch_tokens gives each another")
        if self.compile and self.accumulate > 1:
            raise ValueError("compile computes a batch at once: accumulate must be 1")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What the training runs on."""

    kind: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster whose machines all see this project's folder (extra `ray`; experimental: it was
    never run with GPUs)."""
    processes: Annotated[int, Field(ge=1)] = 1
    """`local` only: how many share every batch; on GPUs each has one of its own."""
    workers: Annotated[int, Field(ge=1)] = 1
    """`ray` only: the same, anywhere in the cluster."""
    address: str = "auto"
    """`ray` only: of the cluster; `auto` finds the one this machine is in, `local` starts one here."""
    shard: bool = False
    """Divide parameters, gradients and optimizer states among the processes as well, for models too large for one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU when there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 on a GPU that computes in it, and on a CPU where it is measured to be 1.2 times faster."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads per process; 0 shares out the cores this process may use. Part of the result: other threads, other
    last bits."""

    def __post_init__(self) -> None:
        if self.kind == "ray" and self.processes > 1:
            raise ValueError("processes belongs to kind: local; say workers")
        if self.kind == "local" and self.workers > 1:
            raise ValueError("workers belongs to kind: ray; say processes")
        if self.kind == "local" and self.address != "auto":
            raise ValueError("address belongs to kind: ray")
        if self.shard and max(self.processes, self.workers) == 1:
            raise ValueError("shard divides the model among processes, and there is only one")

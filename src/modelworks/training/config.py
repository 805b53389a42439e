"""The `train:` and `compute:` sections of a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

__all__ = ["AugmentConfig", "ComputeConfig", "TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random augmentation of training images."""

    shift: Annotated[int, Field(ge=0)] = 0
    """Shift by up to this many pixels in each direction; shifted-in pixels are black."""
    flip: bool = False
    """Flip horizontally with probability 0.5."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Crop up to this share of each side and resize to the full size."""
    cutout: Annotated[int, Field(ge=0)] = 0
    """Side in pixels of a black square at a random position (DeVries & Taylor 2017, arXiv:1708.04552)."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; the architecture's recommendations replace these defaults."""

    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training rows."""
    max_steps: Annotated[int, Field(ge=0)] = 0
    """Maximum optimizer steps; 0 for no limit. The learning rate schedule ends there too, and the last epoch is
    validated there."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Examples per optimizer step, over all processes."""
    batch_tokens: Annotated[int, Field(ge=0)] = 0
    """Texts only: tokens per optimizer step, padding included, instead of `batch_size`; 0 to use `batch_size`."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Number of micro-batches per batch (gradient accumulation), to need less memory."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`adamw`, or `sgd` with momentum."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Maximum learning rate of the schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """For `sgd`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay; not applied to biases and norms."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    """`cosine` decays to zero; `one_cycle` also rises first; `constant` stays at the maximum after the warm-up."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the rate rises to its maximum."""
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    """Clip gradients to this norm; 0 for no clipping."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of an exponential moving average of the weights, which becomes the model; 0 for none."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Images only."""
    monitor: str = "validation_loss"
    """The metric for `keep` and `patience`: `validation_loss`, or `validation_` and a metric of the objective.
    Requires validation rows."""
    keep: Literal["last", "best"] = "last"
    """Whether to keep the weights of the last epoch, or of the epoch with the best `monitor`."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better `monitor`; 0 for never."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of initial weights, order of examples, dropout and augmentation."""
    deterministic: bool = True
    """Use only deterministic algorithms. It costs nothing on a CPU; `false` allows faster CUDA algorithms."""
    compile: bool = False
    """Use torch.compile, on a GPU with CUDA graphs; texts are padded to a multiple of 16 tokens. Requires one process
    and `accumulate: 1`. It takes a minute before the first step and gains nothing on a CPU."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Write a checkpoint every so many seconds; less often on a slow disk, so that checkpoints take at most a fiftieth
    of the time."""
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    """Also write a checkpoint every so many steps; 0 for none."""

    def __post_init__(self) -> None:
        if self.compile and self.batch_tokens:
            raise ValueError("compile does not support batch_tokens, whose batches all have different shapes")
        if self.compile and self.accumulate > 1:
            raise ValueError("compile does not support gradient accumulation: set accumulate: 1")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where and on what hardware to train."""

    kind: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster whose machines all see this project's folder (extra `ray`; experimental: it was
    never run with GPUs)."""
    processes: Annotated[int, Field(ge=1)] = 1
    """`local` only: number of processes that share every batch; on GPUs one per GPU."""
    workers: Annotated[int, Field(ge=1)] = 1
    """`ray` only: number of workers in the cluster that share every batch."""
    address: str = "auto"
    """`ray` only: the cluster's address; `auto` finds this machine's cluster, `local` starts one."""
    shard: bool = False
    """Shard parameters, gradients and optimizer states over the processes, for models too large for one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` uses bf16 on a GPU that supports it, and on a CPU where it is measured to be 1.2 times faster."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads per process; 0 divides the available cores by the processes. The number changes the result in the
    last bits."""

    def __post_init__(self) -> None:
        if self.kind == "ray" and self.processes > 1:
            raise ValueError("processes belongs to kind: local; use workers")
        if self.kind == "local" and self.workers > 1:
            raise ValueError("workers belongs to kind: ray; use processes")
        if self.kind == "local" and self.address != "auto":
            raise ValueError("address belongs to kind: ray")
        if self.shard and max(self.processes, self.workers) == 1:
            raise ValueError("shard requires more than one process")

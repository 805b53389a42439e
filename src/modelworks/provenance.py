"""What a version records of its making: enough to make it again, and to say what differs when that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Code", "DataPin", "Machine", "Provenance"]


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code that made it."""

    commit: str
    """Empty when the code was not in a git repository."""
    folder: str
    """Of the code within its repository: empty, or a path that ends with a slash."""
    patch: str
    """What was changed since the commit, as git's patch. In record.json its SHA-256 stands for it."""
    missing: str
    """Why commit and patch do not tell the whole code, in words; empty when they do."""


@dataclass(frozen=True, kw_only=True)
class DataPin:
    """The data it was made from, and where it can be had."""

    dataset: str
    digest: str
    """Of the data set's own subtree."""
    pin: str
    """The content of data.dvc."""
    remote: str
    """The name of DVC's default remote; empty for none."""
    remotes: Mapping[str, str]
    """Address by name, without passwords."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What computed it."""

    device: str
    precision: str
    threads: int
    """Per process of the training."""
    processes: int
    shard: bool
    scoring_threads: int
    """Of the process that scored the test rows."""
    processor: str
    """The kind of processor, and of GPU if there was one."""
    precision_source: str = "config"
    """What decided the precision, see `training/hardware.py`. Records of earlier releases do not say."""
    product_rates: Mapping[str, float] = field(default_factory=dict)
    """GFLOP/s that a measurement decided it by; empty without one."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """All that a version depends on, observed when it was registered."""

    code: Code
    data: DataPin
    config: Mapping[str, Any]
    """The whole config, defaults and overrides resolved."""
    lock: str
    """SHA-256 of requirements.lock; empty when there was none."""
    seed: int
    machine: Machine
    python: str
    libraries: Mapping[str, str]
    """The version of every distribution that was installed."""
    ingredients: Mapping[str, Mapping[str, str]]
    """Of each stage's key (see cache_keys.py): what its result depends on, down to the digest of each source file."""

"""The provenance of a version: what is needed to rebuild it and to name what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Code", "DataPin", "Machine", "Provenance"]


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code that produced the version."""

    commit: str
    """Empty when the code was not in a git repository."""
    folder: str
    """The code's path within its repository: empty, or ending with a slash."""
    patch: str
    """Uncommitted changes as a git patch. record.json has its SHA-256 instead."""
    missing: str
    """Why commit and patch do not describe all of the code; empty when they do."""


@dataclass(frozen=True, kw_only=True)
class DataPin:
    """The data version, and the remotes that have it."""

    dataset: str
    digest: str
    """The DVC digest of the data set's subtree."""
    pin: str
    """The content of data.dvc."""
    remote: str
    """The name of DVC's default remote; empty for none."""
    remotes: Mapping[str, str]
    """URL by name, without passwords."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The hardware and how it was used."""

    device: str
    precision: str
    threads: int
    """Per training process."""
    processes: int
    shard: bool
    scoring_threads: int
    """Threads of the process that scored the test rows."""
    processor: str
    """The model of the processor, and of the GPU if there was one."""
    precision_source: str = "config"
    """What decided the precision, see `training/hardware.py`. Absent in records of earlier releases."""
    product_rates: Mapping[str, float] = field(default_factory=dict)
    """Measured GFLOP/s that decided the precision; empty without a measurement."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that a version depends on, as observed at registration."""

    code: Code
    data: DataPin
    config: Mapping[str, Any]
    """The complete config, with defaults and overrides resolved."""
    lock: str
    """SHA-256 of requirements.lock; empty when there was none."""
    seed: int
    machine: Machine
    python: str
    libraries: Mapping[str, str]
    """The version of every installed distribution."""
    ingredients: Mapping[str, Mapping[str, str]]
    """The ingredients of each stage's key, see `pipeline/cache_keys.py`."""

"""What a training computes with, and the variables that its process starts with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Hardware", "Precision", "PrecisionSource", "environment"]

Precision = Literal["fp32", "bf16"]
PrecisionSource = Literal["config", "measurement", "cpu_flags", "compute_capability", "undecided"]
"""What decided the precision. `undecided` until `machine.precision.choose` has measured."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a training runs on; part of its key, for other hardware gives other last bits."""

    device: Literal["cpu", "cuda"]
    precision: Precision
    threads: int
    """Per process."""
    processes: int = 1
    shard: bool = False
    """Whether parameters, gradients and optimizer states are divided among the processes."""
    ray: str = ""
    """Address of the Ray cluster that runs the processes; empty for this machine. The one thing here that changes no
    bits."""
    precision_source: PrecisionSource = "config"
    """No part of the key, like the rates: what changes bits is the precision itself."""
    product_rates: Mapping[str, float] = field(default_factory=dict)
    """GFLOP/s that the choice of the precision was measured by (see `machine/precision.py`); empty without one."""


def environment(hardware: Hardware) -> dict[str, str]:
    """Variables that must be set in a training process before its libraries are loaded."""
    return {
        "OMP_NUM_THREADS": str(hardware.threads),
        # Threads that wait for each other within a step look for some microseconds before they sleep: a third faster
        # than sleeping at once, and on a busy machine many times faster than looking for milliseconds, the default.
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "3000"),
        # glibc's malloc keeps what a step frees. By default it hands activations back to the system, and the next step
        # waits for the same pages anew: half the time of a small CNN's step.
        **{name: os.environ.get(name, str(2**30)) for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")},
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it CUDA's sums have no fixed order
    }

"""The hardware of a training and the environment variables of its process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Hardware", "Precision", "PrecisionSource", "environment"]

Precision = Literal["fp32", "bf16"]
PrecisionSource = Literal["config", "measurement", "cpu_flags", "compute_capability", "undecided"]
"""What determined the precision. `undecided` until `machine.precision.choose` measures."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The hardware of a training; part of its key, because it affects the result's last bits."""

    device: Literal["cpu", "cuda"]
    precision: Precision
    threads: int
    """Per process."""
    processes: int = 1
    shard: bool = False
    """Whether parameters, gradients and optimizer states are sharded over the processes."""
    ray: str = ""
    """Address of the Ray cluster that runs the processes; empty for this machine. It does not affect the result."""
    precision_source: PrecisionSource = "config"
    """Not part of the key, like the rates: only the precision itself affects the result."""
    product_rates: Mapping[str, float] = field(default_factory=dict)
    """Measured GFLOP/s that determined the precision (see `machine/precision.py`); empty without a measurement."""


def environment(hardware: Hardware) -> dict[str, str]:
    """Return variables that must be set before the training process loads its libraries."""
    return {
        "OMP_NUM_THREADS": str(hardware.threads),
        # Threads spin for some microseconds before they sleep: a third faster than sleeping at once, and on a busy
        # machine many times faster than spinning for milliseconds, the default.
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "3000"),
        # glibc's malloc keeps freed memory. By default it returns activations to the system, and page faults take half
        # the time of a small CNN's step.
        **{name: os.environ.get(name, str(2**30)) for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")},
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # required for deterministic cuBLAS
    }

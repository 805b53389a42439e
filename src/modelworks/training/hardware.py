"""What this machine computes with, found without importing torch (which costs seconds)."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelworks.errors import BadInput
from modelworks.process import cores

if TYPE_CHECKING:
    from modelworks.training.config import ComputeConfig

__all__ = ["Hardware", "environment", "resolve"]

_COMPUTE_CAPABILITY_MAJOR = 75


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a training runs on; part of its key, for other hardware gives other last bits."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    threads: int
    """Per process."""
    processes: int = 1
    shard: bool = False
    """Whether parameters, gradients and optimizer states are divided among the processes."""
    ray: str = ""
    """Address of the Ray cluster that runs the processes; empty for this machine. The one thing here that changes no
    bits."""


def resolve(config: ComputeConfig) -> Hardware:
    """The config's wishes, and what there is where it says auto.

    Raises:
        BadInput: a GPU is demanded and there is none that torch can use.
    """
    capability, num_gpus = _gpus()
    if config.device == "cuda" and capability is None:
        raise BadInput(
            "compute.device: cuda is asked for, and torch finds no GPU here", "use auto or cpu, or see nvidia-smi"
        )
    device: Literal["cpu", "cuda"] = "cuda" if capability is not None and config.device != "cpu" else "cpu"
    processes = config.workers if config.kind == "ray" else config.processes
    if device == "cuda" and config.kind == "local" and processes > num_gpus:
        raise BadInput(
            f"compute.processes: {processes} are more than the GPUs here ({num_gpus})",
            "lower it, or say compute.device: cpu",
        )
    if config.precision == "auto":
        computes = (capability or 0) >= 8 if device == "cuda" else _cpu_computes_bf16()
        precision: Literal["fp32", "bf16"] = "bf16" if computes else "fp32"
    else:
        precision = config.precision
    return Hardware(
        device=device,
        precision=precision,
        threads=config.threads or max(1, cores() // processes),
        processes=processes,
        shard=config.shard,
        ray=config.address if config.kind == "ray" else "",
    )


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


def _gpus() -> tuple[int | None, int]:
    """The first GPU's major compute capability, and how many there are; none count for a torch built for CPUs."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        return None, 0
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, 0
    count, major = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return None, 0
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, 0)
    return major.value, count.value


def _cpu_computes_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return " amx_bf16" in flags or " avx512_bf16" in flags

"""What this machine computes with, found without importing torch (which costs seconds)."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelworks.errors import BadInput

if TYPE_CHECKING:
    from modelworks.training.config import ComputeConfig

__all__ = ["Hardware", "resolve"]

_COMPUTE_CAPABILITY_MAJOR = 75


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a training runs on; part of its key, for other hardware gives other last bits."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    threads: int


def resolve(config: ComputeConfig) -> Hardware:
    """The config's wishes, and what there is where it says auto.

    Raises:
        BadInput: a GPU is demanded and there is none that torch can use.
    """
    capability = _cuda_capability()
    if config.device == "cuda" and capability is None:
        raise BadInput(
            "compute.device: cuda is asked for, and torch finds no GPU here", "use auto or cpu, or see nvidia-smi"
        )
    device: Literal["cpu", "cuda"] = "cuda" if capability is not None and config.device != "cpu" else "cpu"
    if config.precision == "auto":
        computes = (capability or 0) >= 8 if device == "cuda" else _cpu_computes_bf16()
        precision: Literal["fp32", "bf16"] = "bf16" if computes else "fp32"
    else:
        precision = config.precision
    return Hardware(device=device, precision=precision, threads=config.threads or _cores())


def _cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuda_capability() -> int | None:
    """The major compute capability of the first GPU; None without one, or with a torch built for CPUs."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        return None
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, major = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return None
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, 0)
    return major.value


def _cpu_computes_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return " amx_bf16" in flags or " avx512_bf16" in flags

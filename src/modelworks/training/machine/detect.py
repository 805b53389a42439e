"""Detect device, threads and precision without importing torch, which takes seconds."""

from __future__ import annotations

import ctypes
import importlib.metadata
from typing import TYPE_CHECKING, Literal

from modelworks.errors import BadInput
from modelworks.process import cores
from modelworks.training.hardware import Hardware, Precision, PrecisionSource
from modelworks.training.machine.processor import find

if TYPE_CHECKING:
    from modelworks.training.config import ComputeConfig

__all__ = ["detect"]

_COMPUTE_CAPABILITY_MAJOR = 75


def detect(config: ComputeConfig) -> Hardware:
    """Return the configured hardware, with `auto` resolved for this machine.

    `precision: auto` on a CPU with bf16 instructions is returned as fp32, undecided: `precision.choose` decides it.

    Raises:
        BadInput: a GPU is requested and torch can use none, or there are fewer GPUs than processes.
    """
    capability, num_gpus = _gpus()
    if config.device == "cuda" and capability is None:
        raise BadInput(
            "compute.device: cuda is requested, but torch finds no GPU",
            "set auto or cpu, or check the driver with nvidia-smi",
            code="compute.no-gpu",
        )
    device: Literal["cpu", "cuda"] = "cuda" if capability is not None and config.device != "cpu" else "cpu"
    processes = config.workers if config.kind == "ray" else config.processes
    if device == "cuda" and config.kind == "local" and processes > num_gpus:
        raise BadInput(
            f"compute.processes: {processes} is more than the number of GPUs ({num_gpus})",
            "lower it, or set compute.device: cpu",
            code="compute.too-many-processes",
        )
    precision: Precision = "fp32"
    source: PrecisionSource = "config"
    if config.precision != "auto":
        precision = config.precision
    elif device == "cuda":
        precision, source = "bf16" if (capability or 0) >= 8 else "fp32", "compute_capability"
    else:
        source = "undecided" if find().has_bf16 else "cpu_flags"
    return Hardware(
        device=device,
        precision=precision,
        precision_source=source,
        threads=config.threads or max(1, cores() // processes),
        processes=processes,
        shard=config.shard,
        ray=config.address if config.kind == "ray" else "",
    )


def _gpus() -> tuple[int | None, int]:
    """Return the first GPU's major compute capability and the number of GPUs that torch can use."""
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

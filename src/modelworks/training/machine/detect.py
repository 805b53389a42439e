"""Find a training's device, threads and precision without importing torch, which costs seconds."""

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
    """What the config asks for, and what there is where it says auto.

    `precision: auto` on a CPU with bf16 instructions comes out undecided, as fp32: `precision.choose` decides it.

    Raises:
        BadInput: a GPU is demanded and there is none that torch can use.
    """
    capability, num_gpus = _gpus()
    if config.device == "cuda" and capability is None:
        raise BadInput(
            "compute.device: cuda is asked for, and torch finds no GPU here",
            "use auto or cpu, or see nvidia-smi",
            code="compute.no-gpu",
        )
    device: Literal["cpu", "cuda"] = "cuda" if capability is not None and config.device != "cpu" else "cpu"
    processes = config.workers if config.kind == "ray" else config.processes
    if device == "cuda" and config.kind == "local" and processes > num_gpus:
        raise BadInput(
            f"compute.processes: {processes} are more than the GPUs here ({num_gpus})",
            "lower it, or say compute.device: cpu",
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

"""Model FLOP utilisation: the model's FLOP/s relative to a GPU's peak (arXiv:2204.02311, app. B)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelworks.training.job import Job

__all__ = ["peak", "per_example"]

PEAKS = {"B200": 2250e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}
"""Dense bf16 FLOP/s from NVIDIA's data sheets (H100 and H200: SXM), by a part of the device's name."""


def peak(device: str) -> float | None:
    """Return the bf16 FLOP/s of a device by its name; None if unknown."""
    return next((value for name, value in PEAKS.items() if name in device), None)


def per_example(job: Job) -> float:
    """Return the FLOPs of forward and backward for one training example, counted per operator on the CPU."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.trainers.rows import load, make_network

    job = dataclasses.replace(job, hardware=dataclasses.replace(job.hardware, device="cpu", precision="fp32"))
    rows = load(job)
    network = make_network(job, rows)
    inputs = rows.data.processor.collate(rows.data.inputs, torch.arange(2))
    # Attention as matrix products, which the counter supports.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(**inputs).sum().backward()
    return float(counter.get_total_flops()) / 2

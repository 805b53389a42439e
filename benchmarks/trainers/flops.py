"""Model FLOP utilisation: the share of a GPU's peak that the model's own arithmetic is (arXiv:2204.02311, app. B)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelworks.training.job import Job

__all__ = ["peak", "per_example"]

PEAKS = {"B200": 2250e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}
"""Dense bf16 FLOP/s by NVIDIA's data sheets (of H100 and H200: SXM), by a part of the device's name."""


def peak(device: str) -> float | None:
    """bf16 FLOP/s of a device by its name; None for one that is not known here."""
    return next((value for name, value in PEAKS.items() if name in device), None)


def per_example(job: Job) -> float:
    """FLOPs of forward and backward over one training example, counted operator by operator on the CPU."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.trainers.rows import load, make_network

    job = dataclasses.replace(job, hardware=dataclasses.replace(job.hardware, device="cpu", precision="fp32"))
    rows = load(job)
    network = make_network(job, rows)
    inputs = rows.data.processor.collate(rows.data.inputs, torch.arange(2))
    # Attention as plain matrix products, which the counter knows.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(**inputs).sum().backward()
    return float(counter.get_total_flops()) / 2

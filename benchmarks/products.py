"""Measure the rates of this CPU: `python -m benchmarks.products THREADS` prints one JSON object.

GFLOP/s of products of square matrices, and of the layers that `compute.precision: auto` measures.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.measure import ROOT, run
from modelworks.project import Project
from modelworks.training.config import ComputeConfig
from modelworks.training.hardware import Hardware, environment
from modelworks.training.machine import precision
from modelworks.training.machine.detect import detect
from modelworks.training.machine.processor import find

__all__ = ["choice", "described"]

SIDE = 2048
SECONDS = 1.0
"""Seconds of measurement per precision, after a first product, which loads kernels."""


def choice(operations: tuple[str, ...], folder: Path, *, threads: int = 0) -> Hardware:
    """Return the hardware with the precision that `auto` selects on this CPU, as in every project of this user.

    Args:
        operations: the main ones of the architecture.
        folder: where the rates are cached if the user's cache cannot be written.
        threads: 0 for all cores, as in a config.
    """
    found = detect(ComputeConfig(device="cpu", threads=threads))
    return precision.choose(found, operations, Project(folder).product_rates)


def described() -> dict[str, str]:
    """Return the processor's version and flags, and its rates, as text."""
    hardware, processor = detect(ComputeConfig(device="cpu")), find()
    command = [sys.executable, "-m", "benchmarks.products", str(hardware.threads)]
    _, output = run(command, ROOT, environment(hardware))
    rates = json.loads(output.splitlines()[-1])
    squares = f"{rates['squares_fp32']:,} and {rates.get('squares_bf16', 'not measured')}"
    parts = [
        f"matrices of {SIDE} x {SIDE} {squares}",
        f"a linear layer {rates['products_fp32']:,} and {rates['products_bf16']:,}",
        f"a convolution {rates['convolutions_fp32']:,} and {rates['convolutions_bf16']:,}",
    ]
    return {
        "version": processor.version or "unknown",
        "flags": " ".join(processor.flags) or "unknown",
        "GFLOP/s": f"fp32 and bf16 with {hardware.threads} threads: {'; '.join(parts)} (layers forward and backward)",
    }


def measure(threads: int) -> dict[str, float]:
    """Return GFLOP/s by name.

    Square matrices in bf16 are skipped without bf16 instructions: they would take minutes.
    """
    import torch

    from modelworks.training.machine import product_rates

    rates = product_rates.measure(threads)
    kinds = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if find().has_bf16 else {})}
    for name, kind in kinds.items():
        one, other = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
        torch.mm(one, other)
        shortest, end = float("inf"), time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            started = time.perf_counter()
            torch.mm(one, other)
            shortest = min(shortest, time.perf_counter() - started)
        rates[f"squares_{name}"] = round(2.0 * SIDE**3 / shortest / 1e9, 1)
    return rates


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))

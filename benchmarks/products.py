"""The rates of this CPU, printed with every table: `python -m benchmarks.products THREADS` prints one JSON object.

GFLOP/s of products of square matrices, and of the layers by which `compute.precision: auto` chooses.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.measure import ROOT, run
from modelworks.training.config import ComputeConfig
from modelworks.training.hardware import Hardware, environment
from modelworks.training.machine import precision
from modelworks.training.machine.detect import detect
from modelworks.training.machine.processor import find

__all__ = ["choice", "described"]

SIDE = 2048
SECONDS = 1.0
"""To spend on the products of each precision, after the first, which loads kernels."""


def choice(modality: str, folder: Path, *, threads: int = 0) -> Hardware:
    """What `auto` takes here on the CPU; measured once per folder.

    Args:
        threads: 0 for all cores, as in a config.
    """
    found = detect(ComputeConfig(device="cpu", threads=threads))
    return precision.choose(found, modality, folder / "product-rates")


def described() -> dict[str, str]:
    """The processor's version and flags, and its rates, in words."""
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
    """GFLOP/s by name; imports torch. Without bf16 instructions a product of such matrices takes minutes: it is left out."""
    import torch

    from modelworks.training.machine import product_rates

    rates = product_rates.measure(threads)
    kinds = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if find().has_bf16 else {})}
    for name, kind in kinds.items():
        one, other = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
        torch.mm(one, other)
        least, ending = float("inf"), time.perf_counter() + SECONDS
        while time.perf_counter() < ending:
            started = time.perf_counter()
            torch.mm(one, other)
            least = min(least, time.perf_counter() - started)
        rates[f"squares_{name}"] = round(2.0 * SIDE**3 / least / 1e9, 1)
    return rates


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))

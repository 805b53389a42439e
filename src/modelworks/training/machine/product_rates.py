"""Measure fp32 and bf16: `python -m modelworks.training.machine.product_rates THREADS`.

Print one JSON object: GFLOP/s under each name of `RATES`. Like a training, the program runs forward and backward of one
layer with weights in fp32, in autocast for bf16. It takes less than half a second beyond the import of torch, except on
a processor without bf16 instructions, which needs no measurement.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

__all__ = ["measure"]

TOKENS, WIDTH, HIDDEN = 512, 384, 1536
"""Size of the product: the feed-forward layer of a small encoder for 16 texts of 32 tokens."""
IMAGES, CHANNELS, FILTERS, SIDE, KERNEL = 64, 32, 64, 14, 3
"""Size of the convolution: the second layer of the CNN on images of 28x28."""
SECONDS = 0.1
"""Time per operation after its first call, which compiles kernels."""

Step = Callable[[], object]


def measure(threads: int) -> dict[str, float]:
    """Return GFLOP/s of products and convolutions in fp32 and bf16."""
    torch.set_num_threads(threads)
    rates = {}
    for name, (step, operations) in {"products": _product(), "convolutions": _convolution()}.items():
        for precision, seconds in _compare(step).items():
            rates[f"{name}_{precision}"] = round(operations / seconds / 1e9, 1)
    return rates


def _compare(step: Step) -> dict[str, float]:
    """Return the minimum seconds of a step in each precision, measured alternately."""
    fastest = {"fp32": float("inf"), "bf16": float("inf")}
    for precision in fastest:
        _seconds(step, precision)
    deadline = time.perf_counter() + SECONDS
    while True:
        for precision in fastest:
            fastest[precision] = min(fastest[precision], _seconds(step, precision))
        if time.perf_counter() > deadline:
            return fastest


def _seconds(step: Step, precision: str) -> float:
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        step()
    return time.perf_counter() - started


def _product() -> tuple[Step, float]:
    """Return a step of a linear layer and its floating point operations, forward and backward."""
    inputs = torch.randn(TOKENS, WIDTH, requires_grad=True)
    weight = torch.randn(HIDDEN, WIDTH, requires_grad=True)

    def step() -> object:
        outputs = functional.linear(inputs, weight)
        return torch.autograd.grad(outputs, (inputs, weight), torch.ones_like(outputs))

    return step, 3 * 2.0 * TOKENS * WIDTH * HIDDEN


def _convolution() -> tuple[Step, float]:
    """Return a step of a channels-last convolution and its floating point operations."""
    last = torch.channels_last
    images = torch.randn(IMAGES, CHANNELS, SIDE, SIDE).contiguous(memory_format=last).requires_grad_()
    weight = torch.randn(FILTERS, CHANNELS, KERNEL, KERNEL).contiguous(memory_format=last).requires_grad_()

    def step() -> object:
        outputs = functional.conv2d(images, weight, padding=KERNEL // 2)
        return torch.autograd.grad(outputs, (images, weight), torch.ones_like(outputs))

    return step, 3 * 2.0 * IMAGES * SIDE**2 * FILTERS * CHANNELS * KERNEL**2


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]))) + "\n")

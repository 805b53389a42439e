"""The program that measures fp32 and bf16: `python -m modelworks.training.machine.product_rates THREADS`.

Prints one JSON object: GFLOP/s under each name of `RATES`. What is timed is what a training does: forward and backward
of one layer, from weights in fp32, in autocast for bf16. It takes less than half a second beyond the import of torch,
except on a processor that has no bf16 instructions, where nobody needs to measure.
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
"""Of the product: the feed-forward layer of a small encoder over 16 texts of 32 tokens."""
IMAGES, CHANNELS, FILTERS, SIDE, KERNEL = 64, 32, 64, 14, 3
"""Of the convolution: the second layer of the CNN on images of 28x28."""
SECONDS = 0.1
"""To spend on each operation after its first call, which compiles kernels."""

Step = Callable[[], object]


def measure(threads: int) -> dict[str, float]:
    """GFLOP/s of products and convolutions in fp32 and in bf16."""
    torch.set_num_threads(threads)
    rates = {}
    for name, (step, operations) in {"products": _product(), "convolutions": _convolution()}.items():
        for precision, seconds in _compare(step).items():
            rates[f"{name}_{precision}"] = round(operations / seconds / 1e9, 1)
    return rates


def _compare(step: Step) -> dict[str, float]:
    """The least seconds of a step in each precision; they take turns, so that other work slows both."""
    least = {"fp32": float("inf"), "bf16": float("inf")}
    for precision in least:
        _seconds(step, precision)
    deadline = time.perf_counter() + SECONDS
    while True:
        for precision in least:
            least[precision] = min(least[precision], _seconds(step, precision))
        if time.perf_counter() > deadline:
            return least


def _seconds(step: Step, precision: str) -> float:
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        step()
    return time.perf_counter() - started


def _product() -> tuple[Step, float]:
    """A linear layer, and the floating point operations of its forward and backward."""
    inputs = torch.randn(TOKENS, WIDTH, requires_grad=True)
    weight = torch.randn(HIDDEN, WIDTH, requires_grad=True)

    def step() -> object:
        outputs = functional.linear(inputs, weight)
        return torch.autograd.grad(outputs, (inputs, weight), torch.ones_like(outputs))

    return step, 3 * 2.0 * TOKENS * WIDTH * HIDDEN


def _convolution() -> tuple[Step, float]:
    """A convolution, channels last as a training has them, and its floating point operations."""
    last = torch.channels_last
    images = torch.randn(IMAGES, CHANNELS, SIDE, SIDE).contiguous(memory_format=last).requires_grad_()
    weight = torch.randn(FILTERS, CHANNELS, KERNEL, KERNEL).contiguous(memory_format=last).requires_grad_()

    def step() -> object:
        outputs = functional.conv2d(images, weight, padding=KERNEL // 2)
        return torch.autograd.grad(outputs, (images, weight), torch.ones_like(outputs))

    return step, 3 * 2.0 * IMAGES * SIDE**2 * FILTERS * CHANNELS * KERNEL**2


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]))) + "\n")

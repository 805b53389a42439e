"""Dropout's coin flips on a CPU, four for the price of one.

PyTorch draws every flip from a generator's state in sequence: a seventh of a small encoder's step. Here each draw of 64
bits gives four flips, and comparing them is vectorised.
"""

from __future__ import annotations

import functools
import warnings

import torch

__all__ = ["flip_faster"]

STEPS = 1 << 16
"""A probability is rounded to a multiple of one over this."""


@functools.cache
def flip_faster() -> torch.library.Library:
    """Make `bernoulli_`, and with it dropout wherever a model calls it, draw as here; for the process, on its CPU."""
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*overriding a previously registered kernel")  # which is the purpose
        library.impl("bernoulli_.float", bernoulli_, "CPU")  # type: ignore[no-untyped-call]  # the same
    return library


def bernoulli_(out: torch.Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a tensor of any shape with ones, each with probability p, and zeros; from the CPU's generator."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    below = round(p * STEPS)
    if below in (0, STEPS):
        return out.fill_(below // STEPS)
    draws = torch.empty(-(-out.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    flips = draws.view(torch.int16)[: out.numel()] < below - STEPS // 2
    return out.copy_(flips.view(out.shape))

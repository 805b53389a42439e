"""Require deterministic algorithms of torch, and explain operations that have none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from modelworks.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["demand_determinism", "refuse_nondeterminism"]

MISSING = " does not have a deterministic implementation"
"""Text of torch's error after the name of the operation."""


def demand_determinism() -> None:
    """Make torch raise an error for an operation without a deterministic implementation."""
    torch.set_deterministic_debug_mode("error")
    # Filling new memory only helps code that reads uninitialised memory; there is none here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch sets it up so


@contextmanager
def refuse_nondeterminism() -> Iterator[None]:
    """Convert torch's error about a nondeterministic operation into one about the config.

    Raises:
        BadInput: the model uses such an operation and the config requires determinism.
    """
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(MISSING)
        if not found:
            raise
        raise BadInput(
            f"train.deterministic: torch has no deterministic implementation of {operation.split()[-1]} on this device",
            "set train.deterministic: false",
            code="train.deterministic",
        ) from error

"""Demand deterministic algorithms of torch, and explain where it has none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from modelworks.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["demand_determinism", "refuse_nondeterminism"]

MISSING = " does not have a deterministic implementation"
"""What torch's error says after the name of the operation."""


def demand_determinism() -> None:
    """Let torch raise an error where an operation has no deterministic implementation."""
    torch.set_deterministic_debug_mode("error")
    # This would also fill all new memory, for code that reads what it never wrote; no code here does.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch sets it up so


@contextmanager
def refuse_nondeterminism() -> Iterator[None]:
    """Turn torch's error about an operation without deterministic implementation into one about the config.

    Raises:
        BadInput: the model needs such an operation, and the config demands determinism.
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

"""The order of examples: a function of seed and epoch, cut into batches of indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = ["epoch_batches", "in_order"]

WINDOW = 50
"""Batches whose examples are sorted by length together: long enough to save padding, short enough to stay random."""


def epoch_batches(
    indices: np.ndarray, lengths: np.ndarray | None, batch_size: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """All of `indices` once, shuffled, in batches; the last one may be smaller.

    With `lengths` (one per example of the whole set), examples of like length share a batch, and the batches are
    shuffled again. The same seed and epoch give the same batches, so a resumed run needs no state but its step.
    """
    import numpy as np

    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = indices[generator.permutation(len(indices))]
    if lengths is None:
        return list(_cut(order, batch_size))
    window = batch_size * WINDOW
    batches = [
        batch
        for part in _cut(order, window)
        for batch in _cut(part[np.argsort(lengths[part], kind="stable")], batch_size)
    ]
    return [batches[place] for place in generator.permutation(len(batches))]


def in_order(indices: np.ndarray, lengths: np.ndarray | None, batch_size: int) -> list[np.ndarray]:
    """All of `indices` once, for evaluation: by length when there is one, which wastes least padding."""
    import numpy as np

    return list(_cut(indices if lengths is None else indices[np.argsort(lengths[indices], kind="stable")], batch_size))


def _cut(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (order[start : start + size] for start in range(0, len(order), size))

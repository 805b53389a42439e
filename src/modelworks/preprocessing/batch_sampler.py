"""The order of examples: a function of seed and epoch, cut into batches of indices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = ["BatchSampler", "in_order"]

WINDOW = 50
"""Batches whose examples are sorted by length together: long enough to save padding, short enough to stay random."""


class BatchSampler:
    """All batches of a training, epoch by epoch, made when they are asked for.

    With lengths, examples of like length share a batch, and the batches are shuffled again. The same arguments give
    the same batches, so a resumed training needs no state but its step.
    """

    def __init__(
        self,
        indices: np.ndarray,
        lengths: np.ndarray | None,
        *,
        epochs: int,
        batch_size: int,
        batch_tokens: int = 0,
        seed: int,
        max_steps: int = 0,
    ) -> None:
        """
        Args:
            indices: of the examples to go through.
            lengths: tokens of every example of the whole set; None where all are alike.
            epochs: how often.
            batch_size: examples per batch; the last of an epoch may be smaller.
            batch_tokens: instead, when it is not 0: most tokens per batch, padding included.
            seed: of the shuffling.
            max_steps: most batches of all epochs; 0 for no limit. The last epoch may end early because of it.
        """
        import numpy as np

        self._indices, self._lengths, self._seed = indices, lengths, seed
        self._size, self._tokens = batch_size, batch_tokens if lengths is not None else 0
        ends = [0]
        while len(ends) <= epochs and not 0 < max_steps <= ends[-1]:
            # How many batches a budget of tokens gives depends on how an epoch is shuffled.
            count = len(self._shuffled(len(ends) - 1)) if self._tokens else math.ceil(len(indices) / batch_size)
            ends.append(ends[-1] + count)
        ends[-1] = min(ends[-1], max_steps or ends[-1])
        self._first = np.array(ends)

    @property
    def num_steps(self) -> int:
        """Batches of all epochs."""
        return int(self._first[-1])

    @property
    def num_epochs(self) -> int:
        """Epochs of which there is a batch."""
        return len(self._first) - 1

    def first_step(self, epoch: int) -> int:
        """Batches before an epoch."""
        return int(self._first[epoch])

    def epoch_of(self, step: int) -> int:
        """The epoch of a batch, both counted from 0."""
        import numpy as np

        return int(np.searchsorted(self._first, step, side="right")) - 1

    def batches(self, epoch: int, start: int = 0) -> list[np.ndarray]:
        """Return the batches of an epoch that come at or after a step, counted from the start of the training."""
        first, end = self._first[epoch], self._first[epoch + 1]
        return self._shuffled(epoch)[max(0, start - first) : end - first]

    def _shuffled(self, epoch: int) -> list[np.ndarray]:
        """Return each index once, shuffled, in batches."""
        import numpy as np

        generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        order = self._indices[generator.permutation(len(self._indices))]
        if self._lengths is None:
            return list(_cut(order, self._size))
        window = self._window()
        batches = [
            batch
            for part in _cut(order, window)
            for batch in self._cut_sorted(part[np.argsort(self._lengths[part], kind="stable")])
        ]
        return [batches[place] for place in generator.permutation(len(batches))]

    def _window(self) -> int:
        assert self._lengths is not None
        if not self._tokens:
            return self._size * WINDOW
        return max(1, int(self._tokens / max(1.0, float(self._lengths[self._indices].mean())))) * WINDOW

    def _cut_sorted(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """Batches of examples that are sorted by length, as many in each as the budget allows, at least one."""
        import numpy as np

        if not self._tokens:
            yield from _cut(order, self._size)
            return
        assert self._lengths is not None
        start = 0
        while start < len(order):
            padded = self._lengths[order[start:]] * np.arange(1, len(order) - start + 1)
            count = max(1, int(np.searchsorted(padded, self._tokens, side="right")))
            yield order[start : start + count]
            start += count


def in_order(indices: np.ndarray, lengths: np.ndarray | None, batch_size: int) -> list[np.ndarray]:
    """All of `indices` once, for evaluation: by length when there is one, which wastes least padding."""
    import numpy as np

    return list(_cut(indices if lengths is None else indices[np.argsort(lengths[indices], kind="stable")], batch_size))


def _cut(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (order[start : start + size] for start in range(0, len(order), size))

"""The order of examples in batches of indices, a function of seed and epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = ["BatchSampler", "in_order"]

WINDOW = 50
"""Number of batches whose examples are sorted by length together, a compromise of padding and shuffling."""


class BatchSampler:
    """All batches of a training, epoch by epoch, computed on request.

    With lengths, examples of similar length share a batch, and the batches are shuffled again. The same arguments give
    the same batches, so a resumed training needs only its step.
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
            indices: of the examples to sample.
            lengths: tokens of every example of the data set; None if all cost the same.
            epochs: number of epochs.
            batch_size: examples per batch; the last batch of an epoch may be smaller.
            batch_tokens: if not 0, the maximum tokens per batch, padding included, instead of `batch_size`.
            seed: of the shuffling.
            max_steps: maximum batches of all epochs; 0 for no limit. The last epoch may end early because of it.
        """
        import numpy as np

        self._indices, self._lengths, self._seed = indices, lengths, seed
        self._size, self._tokens = batch_size, batch_tokens if lengths is not None else 0
        ends = [0]
        while len(ends) <= epochs and not 0 < max_steps <= ends[-1]:
            # With batch_tokens the number of batches depends on the shuffling of the epoch.
            count = len(self._shuffled(len(ends) - 1)) if self._tokens else math.ceil(len(indices) / batch_size)
            ends.append(ends[-1] + count)
        ends[-1] = min(ends[-1], max_steps or ends[-1])
        self._first = np.array(ends)

    @property
    def num_steps(self) -> int:
        """Number of batches in all epochs."""
        return int(self._first[-1])

    @property
    def num_epochs(self) -> int:
        """Number of epochs that have a batch."""
        return len(self._first) - 1

    def first_step(self, epoch: int) -> int:
        """Return the number of batches before an epoch."""
        return int(self._first[epoch])

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a batch, both counted from 0."""
        import numpy as np

        return int(np.searchsorted(self._first, step, side="right")) - 1

    def batches(self, epoch: int, start: int = 0) -> list[np.ndarray]:
        """Return the batches of an epoch from a step on, counted from the start of the training."""
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
        """Yield batches of sorted examples, as many in each as `batch_tokens` allows, at least one."""
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
    """Return batches of all `indices` for evaluation, sorted by length to minimise padding."""
    import numpy as np

    return list(_cut(indices if lengths is None else indices[np.argsort(lengths[indices], kind="stable")], batch_size))


def _cut(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (order[start : start + size] for start in range(0, len(order), size))

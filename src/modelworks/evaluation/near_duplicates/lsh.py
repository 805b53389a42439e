"""Find similar pairs of rows from two sets without comparing all pairs.

Each row has a few bands: numbers computed from parts of its signature. Similar rows agree in at least one band, so only
such rows are compared (locality-sensitive hashing: Indyk and Motwani 1998, doi:10.1145/276698.276876).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["neighbours"]

Integers = npt.NDArray[np.integer]
Indices = npt.NDArray[np.int64]

AT_ONCE = 200_000
"""Maximum number of pairs per chunk, to limit memory."""


def neighbours(
    ours: Integers, theirs: Integers, distance: Callable[[Indices, Indices], Integers], *, limit: int, most: int
) -> tuple[Indices, Indices]:
    """Return pairs (row of ours, row of theirs) that share a band and are within a distance.

    Args:
        ours: (rows, bands).
        theirs: (rows, bands).
        distance: returns the distances of pairs, given their rows in ours and theirs.
        limit: maximum distance.
        most: maximum number of pairs per row of ours, the nearest first.
    """
    nearest = [np.empty((3, 0), dtype=np.int64)]
    for band in range(ours.shape[1]):
        for left, right in _sharing(ours[:, band], theirs[:, band]):
            distances = distance(left, right).astype(np.int64)
            near = distances <= limit
            nearest.append(_first(np.stack([left[near], distances[near], right[near]]), most))
    left, _, right = _first(np.concatenate(nearest, axis=1), most)
    return left, right


def _sharing(ours: Integers, theirs: Integers) -> Iterator[tuple[Indices, Indices]]:
    """Yield pairs of rows with the same number, in chunks."""
    order = np.argsort(theirs, kind="stable")
    ordered = theirs[order]
    starts, ends = np.searchsorted(ordered, ours, "left"), np.searchsorted(ordered, ours, "right")
    partners = ends - starts
    upto = np.cumsum(partners)
    first = 0
    while first < len(ours):
        before = int(upto[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(upto, before + AT_ONCE, "right")))
        counts = partners[first:last]
        left = np.repeat(np.arange(first, last), counts)
        # Offset of each partner within its row.
        offsets = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield left, order[np.repeat(starts[first:last], counts) + offsets]
        first = last


def _first(columns: Indices, most: int) -> Indices:
    """Return, of the distinct columns, the `most` smallest for each value of the first row."""
    ordered = columns[:, np.lexsort(columns[::-1])]
    repeated = np.zeros(ordered.shape[1], dtype=bool)
    repeated[1:] = (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)
    different = ordered[:, ~repeated]
    place = np.arange(different.shape[1]) - np.searchsorted(different[0], different[0], "left")
    return different[:, place < most]

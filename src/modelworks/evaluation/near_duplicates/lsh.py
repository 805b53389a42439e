"""Pairs of rows from two sets that resemble each other, without comparing every row with every other.

Each row has a few bands: numbers made from parts of its signature. Rows that resemble each other agree in a band at
least once, so only rows that share one are compared (locality-sensitive hashing: Indyk and Motwani 1998,
doi:10.1145/276698.276876).
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
"""Most pairs looked at together: memory stays flat."""


def neighbours(
    ours: Integers, theirs: Integers, distance: Callable[[Indices, Indices], Integers], *, limit: int, most: int
) -> tuple[Indices, Indices]:
    """The pairs (row of ours, row of theirs) that share a band and lie within a distance.

    Args:
        ours: (rows, bands).
        theirs: (rows, bands), likewise.
        distance: of some pairs, given the rows of either side.
        limit: largest distance.
        most: pairs kept for each row of ours, the nearest: many rows may be alike.
    """
    nearest = [np.empty((3, 0), dtype=np.int64)]
    for band in range(ours.shape[1]):
        for left, right in _sharing(ours[:, band], theirs[:, band]):
            apart = distance(left, right).astype(np.int64)
            near = apart <= limit
            nearest.append(_first(np.stack([left[near], apart[near], right[near]]), most))
    left, _, right = _first(np.concatenate(nearest, axis=1), most)
    return left, right


def _sharing(ours: Integers, theirs: Integers) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of rows with the same number, some at a time."""
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
        # Within each row: its own start, then one further for each partner.
        offsets = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield left, order[np.repeat(starts[first:last], counts) + offsets]
        first = last


def _first(columns: Indices, most: int) -> Indices:
    """Of different columns, the few smallest that begin alike."""
    ordered = columns[:, np.lexsort(columns[::-1])]
    repeated = np.zeros(ordered.shape[1], dtype=bool)
    repeated[1:] = (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)
    different = ordered[:, ~repeated]
    place = np.arange(different.shape[1]) - np.searchsorted(different[0], different[0], "left")
    return different[:, place < most]

"""Rows of a file, read where they are when they are asked for.

Mapped into memory, a row that is read brings hundreds of kilobytes of its neighbours along: of a set that is larger
than memory should hold, a batch of random rows would take a hundred times its own size, and as long as the step.
"""

from __future__ import annotations

import math
import os
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from modelworks.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FileRows"]


class FileRows:
    """An array in a file, of which some rows at a time are wanted."""

    def __init__(self, path: Path, kind: np.dtype[Any], shape: Sequence[int]) -> None:
        """
        Args:
            path: bare numbers, as `ndarray.tofile` writes them.
            shape: of the whole array; at least two dimensions.
        """
        self._path, self._kind, self._row = path, kind, tuple(shape[1:])
        self._bytes = math.prod(self._row) * kind.itemsize
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the rows with these numbers, in their order.

        Raises:
            Corrupt: the file has become shorter.
        """
        found = np.empty((len(rows), *self._row), self._kind)
        places = found.data.cast("B")
        size = self._bytes
        for place, row in enumerate(rows.tolist()):
            if os.preadv(self._descriptor, [places[place * size : (place + 1) * size]], row * size) != size:
                raise Corrupt(
                    f"{self._path} ends before row {row}", "run again: the rows are decoded anew", code="data.truncated"
                )
        return found

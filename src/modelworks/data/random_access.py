"""Read single rows of an array in a file.

With a memory map, each row that is read loads hundreds of kilobytes of neighbouring pages. A batch of random rows of
a large data set would take a hundred times its own size in memory, and as long as the training step.
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
    """An array in a file that is read by row."""

    def __init__(self, path: Path, kind: np.dtype[Any], shape: Sequence[int]) -> None:
        """
        Args:
            path: raw values, as `ndarray.tofile` writes them.
            kind: their type.
            shape: of the complete array; at least two dimensions.
        """
        self._path, self._kind, self._row = path, kind, tuple(shape[1:])
        self._bytes = math.prod(self._row) * kind.itemsize
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of the rows with these indices, in this order.

        Raises:
            Corrupt: the file is truncated.
        """
        values = np.empty((len(rows), *self._row), self._kind)
        buffer = values.data.cast("B")
        size = self._bytes
        for index, row in enumerate(rows.tolist()):
            if os.preadv(self._descriptor, [buffer[index * size : (index + 1) * size]], row * size) != size:
                raise Corrupt(
                    f"{self._path} ends before row {row}", "run again to decode the rows again", code="data.truncated"
                )
        return values

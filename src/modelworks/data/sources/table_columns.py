"""Convert columns of a table to features: numbers, lists of class names, image files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ["class_names", "image_files", "numbers"]


def numbers(column: pa.ChunkedArray) -> tuple[pa.Array, dict[int, str]]:
    """Return a column as float64, and the text of each cell that is not a finite number, by row.

    Such a cell becomes null, which makes the row bad. Numbers are written as in Python, without underscores.
    """
    import pyarrow as pa

    found: list[float | None] = []
    others: dict[int, str] = {}
    for row, cell in enumerate(column.to_pylist()):
        value = _number(cell)
        if value is None:
            others[row] = "" if cell is None else str(cell)
        found.append(value)
    return pa.array(found, pa.float64()), others


def class_names(column: pa.ChunkedArray, separator: str) -> pa.Array:
    """Return the class names of each row (list of strings): sorted, unique and stripped.

    An empty cell is a row without classes. A null, which only JSONL and Parquet can have, stays null.

    Raises:
        TypeError: a cell is neither a string nor a list of strings.
    """
    import pyarrow as pa

    return pa.array([_names(cell, separator) for cell in column.to_pylist()], pa.list_(pa.string()))


def image_files(table: Path, paths: pa.Array) -> pa.Array:
    """Read the files that a column names (binary); null where the cell is empty.

    Raises:
        BadInput: a file cannot be read.
    """
    import pyarrow as pa

    contents: list[bytes | None] = []
    for row, path in enumerate(paths.to_pylist()):
        try:
            contents.append((table.parent / path).read_bytes() if path else None)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BadInput(
                f"source.image: {table} names {path!r} in row {row}, which cannot be read: {reason}",
                "correct the path, which is relative to the table's folder, or remove the row",
                code="source.image-unreadable",
            ) from error
    return pa.array(contents, pa.binary())


def _number(cell: Any) -> float | None:
    if isinstance(cell, str) and "_" in cell:
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _names(cell: Any, separator: str) -> list[str] | None:
    if cell is None:
        return None
    parts = cell if isinstance(cell, list) else [cell]
    if any(isinstance(part, list | dict) for part in parts):
        raise TypeError
    if not isinstance(cell, list):
        parts = str(cell).split(separator)
    names = {str(part).strip() for part in parts if part is not None}
    return sorted(names - {""})

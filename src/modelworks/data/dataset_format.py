"""The stored form of a data set: plain Parquet, one row per example, the same bytes on every machine.

`examples.parquet` has `id` (SHA-256 of the input, hex), the input column (`image`: encoded bytes, or `text`), target
columns (`label`: class name, `labels`: list of class names, `number`: float64), an optional official `split`, and
whatever else the source has. `dataset.json` describes it: its features are the typed columns, and a class name stands
with its number of rows. pandas, DuckDB and Hugging Face datasets open it as it is.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modelworks.data.dvc_storage import object_cache
from modelworks.errors import BadInput, Corrupt, Overtaken
from modelworks.files.atomic_files import write_json
from modelworks.files.digest_memo import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from modelworks.data.features import Features
    from modelworks.data.sources.base import Examples
    from modelworks.files.digest_memo import DigestMemo, Snapshot

__all__ = [
    "confirm", "describe", "features", "forget_read", "read", "refuse_strangers", "stream", "write",
]  # fmt: skip


FILES = ("dataset.json", "examples.parquet")
SMALL = 2**26
"""Bytes of a file that is kept in memory once it was read."""


def write(
    folder: Path, name: str, source: dict[str, Any], examples: Examples, forgotten: frozenset[str] = frozenset()
) -> None:
    """Pack the examples into a folder, without the rows whose ids are to be forgotten."""
    import pyarrow as pa
    import pyarrow.parquet

    table = pa.table({"id": _ids(examples.columns[examples.input]), **examples.columns})
    rows = table.num_rows
    if forgotten:
        table = table.filter(pa.array([each not in forgotten for each in table["id"].to_pylist()], pa.bool_()))
    left_out = rows - table.num_rows
    # What no codec, thread count or allocator decides: fixed versions, level, row groups and no hidden metadata.
    pa.parquet.write_table(
        table.replace_schema_metadata(None),
        folder / "examples.parquet",
        compression="zstd",
        compression_level=9,
        row_group_size=1000,
        use_dictionary=False,
        version="2.6",
        data_page_version="2.0",
        write_page_checksum=True,
        store_schema=False,
    )
    write_json(
        folder / "dataset.json",
        {
            "name": name,
            "features": {
                column: {**feature, **_classes(table[column], feature["kind"])}
                for column, feature in examples.features.items()
            },
            "rows": table.num_rows,
            **({"forgotten": left_out} if left_out else {}),
            "source": {**source, "sha256": examples.source_digest, **examples.details},
            "licence": examples.licence,
        },
    )


def refuse_strangers(data: Path, paths: Iterable[str]) -> None:
    """Of files below data/ that are to make way, let none be lost that cannot be made again.

    Raises:
        BadInput: one is not part of a packed data set.
    """
    for path in paths:
        if path.count("/") != 1 or path.partition("/")[2] not in FILES:
            raise BadInput(
                f"{data / path} would be lost: it is not what data.dvc pins, and data/ holds nothing else",
                "move it elsewhere and run again",
                code="data.unknown-file",
            )


def confirm(folder: Path, digest: str, memo: DigestMemo) -> None:
    """Make sure that a data set is that version: what was just read of it then was, too.

    Args:
        folder: of the data set.
        digest: of the version.
        memo: knows the files that have not changed; only the others are read.

    Raises:
        Overtaken: the data set is another by now.
    """
    try:
        found = object_cache.listing_digest(object_cache.subtree(folder, memo))
    except FileNotFoundError:  # it is being replaced
        found = ""
    if found != digest:
        raise Overtaken(
            f"{folder} is no longer the version that this run began with",
            "another run has brought a newer one, or its files were changed: run again",
            code="data.changed",
        )


def describe(folder: Path) -> dict[str, Any]:
    """The content of dataset.json; that of a set from before columns had types is brought into today's form.

    Raises:
        Corrupt: it is missing or not what `write` wrote.
    """
    try:
        description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Corrupt(
            f"{folder / 'dataset.json'} cannot be read: {error}", "delete the folder and run again", code="data.damaged"
        ) from error
    assert isinstance(description, dict)
    if "features" not in description:
        kind, classes = description.pop("modality"), description.pop("classes")
        description["features"] = {kind: {"kind": kind}, "label": {"kind": "label", "classes": classes}}
    return description


def features(description: dict[str, Any]) -> Features:
    """The typed columns of a described data set; of classes the sorted names alone."""
    return {
        column: {name: sorted(value) if name == "classes" else value for name, value in feature.items()}
        for column, feature in description["features"].items()
    }


def read(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The examples, page checksums compared; `columns` that the data set does not have are left out.

    Raises:
        Corrupt: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet

    path = folder / "examples.parquet"
    try:
        if path.stat().st_size <= SMALL:
            table = _whole(path, snapshot(path))
            if columns is None:
                return table
            return table.select([name for name in columns if name in table.column_names])
        with pa.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            known = set(file.schema_arrow.names)
            return file.read([name for name in columns if name in known] if columns is not None else None)
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(
            f"{folder / 'examples.parquet'}: {error}", "delete the folder and run again", code="data.damaged"
        ) from error


def stream(folder: Path, columns: Sequence[str], rows: int = 4096) -> Iterator[pa.RecordBatch]:
    """The examples in order, some rows at a time: memory stays flat however many there are.

    Raises:
        Corrupt: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet

    path = folder / "examples.parquet"
    try:
        if path.stat().st_size <= SMALL:
            yield from _whole(path, snapshot(path)).select(list(columns)).to_batches(rows)
            return
        with pa.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):  # asked for all of them at once, pyarrow keeps the whole file
                yield from file.iter_batches(rows, row_groups=[group], columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(
            f"{folder / 'examples.parquet'}: {error}", "delete the folder and run again", code="data.damaged"
        ) from error


def forget_read() -> None:
    """Give back the memory of a small data set that was read."""
    _whole.cache_clear()


@lru_cache(maxsize=1)  # a run reads a small data set once, whatever its stages want of it
def _whole(path: Path, _snapshot: Snapshot) -> pa.Table:
    """All examples of a file as it is now, page checksums compared."""
    import pyarrow as pa
    import pyarrow.parquet

    with pa.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read()


def _classes(column: pa.ChunkedArray, kind: str) -> dict[str, dict[str, int]]:
    """The classes of a column of `label` or `labels`, each with its number of rows; nothing for other kinds."""
    if kind not in ("label", "labels"):
        return {}
    values = column.combine_chunks()
    counted = (values.flatten() if kind == "labels" else values).value_counts().to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in counted if entry["values"] is not None}
    return {"classes": {name: counts[name] for name in sorted(counts)}}


def _ids(content: pa.Array) -> list[str]:
    values = (value.as_py() for value in content)
    return [
        hashlib.sha256(value if isinstance(value, bytes) else (value or "").encode()).hexdigest() for value in values
    ]

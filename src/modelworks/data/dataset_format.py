"""Read and write data sets: Parquet, one row per example, the same bytes on every machine.

`examples.parquet` has `id` (SHA-256 of the input, hex), the input column (`image`: encoded bytes, or `text`), target
columns (`label`: class name, `labels`: list of class names, `number`: float64), an optional official `split`, and
further columns of the source. `dataset.json` has its features, the typed columns, and the number of rows per class.
pandas, DuckDB and Hugging Face datasets can read the files.
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
    "clear_cache", "confirm", "describe", "features", "read", "refuse_unknown_files", "stream", "write",
]  # fmt: skip


FILES = ("dataset.json", "examples.parquet")
SMALL = 2**26
"""Maximum size in bytes of a file that is kept in memory after it was read."""


def write(
    folder: Path, name: str, source: dict[str, Any], examples: Examples, forgotten: frozenset[str] = frozenset()
) -> None:
    """Write the examples to a folder, without the rows whose ids are in `forgotten`."""
    import pyarrow as pa
    import pyarrow.parquet

    table = pa.table({"id": _ids(examples.columns[examples.input]), **examples.columns})
    rows = table.num_rows
    if forgotten:
        table = table.filter(pa.array([each not in forgotten for each in table["id"].to_pylist()], pa.bool_()))
    left_out = rows - table.num_rows
    # Fix everything that could change the bytes: versions, compression level, row groups and metadata.
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


def refuse_unknown_files(data: Path, paths: Iterable[str]) -> None:
    """Check files below data/ that are about to be deleted.

    Raises:
        BadInput: a file is not part of a packed data set and would be lost.
    """
    for path in paths:
        if path.count("/") != 1 or path.partition("/")[2] not in FILES:
            raise BadInput(
                f"{data / path} would be lost: it is not in data.dvc, and data/ is only for pinned data",
                "move it elsewhere and run again",
                code="data.unknown-file",
            )


def confirm(folder: Path, digest: str, memo: DigestMemo) -> None:
    """Check that a data set is still the given version, and so was when it was read.

    Args:
        folder: the data set's folder.
        digest: the version's digest.
        memo: digests of unchanged files; only changed files are read.

    Raises:
        Overtaken: the data set has changed.
    """
    try:
        found = object_cache.listing_digest(object_cache.subtree(folder, memo))
    except FileNotFoundError:  # the data set is being replaced
        found = ""
    if found != digest:
        raise Overtaken(
            f"{folder} changed during this run",
            "another run ingested a newer version, or files were edited: run again",
            code="data.changed",
        )


def describe(folder: Path) -> dict[str, Any]:
    """Return the content of dataset.json, converted if an earlier release wrote it.

    Raises:
        Corrupt: the file is missing or damaged.
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
    """Return the typed columns of a description from `describe`; classes are their sorted names."""
    return {
        column: {name: sorted(value) if name == "classes" else value for name, value in feature.items()}
        for column, feature in description["features"].items()
    }


def read(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the examples and verify page checksums; `columns` that do not exist are skipped.

    Raises:
        Corrupt: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet

    path = folder / "examples.parquet"
    try:
        if path.stat().st_size <= SMALL:
            table = _read_all(path, snapshot(path))
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
    """Yield the examples in order, in batches of rows, with constant memory.

    Raises:
        Corrupt: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet

    path = folder / "examples.parquet"
    try:
        if path.stat().st_size <= SMALL:
            yield from _read_all(path, snapshot(path)).select(list(columns)).to_batches(rows)
            return
        with pa.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):  # with all groups in one call, pyarrow keeps the file in memory
                yield from file.iter_batches(rows, row_groups=[group], columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(
            f"{folder / 'examples.parquet'}: {error}", "delete the folder and run again", code="data.damaged"
        ) from error


def clear_cache() -> None:
    """Free the memory of the cached small data set."""
    _read_all.cache_clear()


@lru_cache(maxsize=1)  # a run reads a small data set only once
def _read_all(path: Path, _snapshot: Snapshot) -> pa.Table:
    """Read all examples of a file and verify page checksums."""
    import pyarrow as pa
    import pyarrow.parquet

    with pa.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read()


def _classes(column: pa.ChunkedArray, kind: str) -> dict[str, dict[str, int]]:
    """Return the number of rows per class of a `label` or `labels` column.

    Empty for other kinds.
    """
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

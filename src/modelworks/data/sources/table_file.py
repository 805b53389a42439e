"""Read a table from a file: CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from modelworks.data.sources.base import located
from modelworks.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pyarrow as pa

__all__ = ["load", "locate"]

FORMATS = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSONL", ".ndjson": "JSONL", ".parquet": "Parquet"}
BLOCK = 1 << 26
"""Number of bytes that pyarrow parses at once, and so the maximum length of a row."""


def locate(path: str, root: Path) -> Path:
    """Return the path of a table; a relative path is below `root`.

    Raises:
        BadInput: the file does not exist or its format is unknown.
    """
    found = located(path, root)
    if not found.is_file():
        problem = "is not a file" if found.exists() else "does not exist"
        raise BadInput(
            f"source.path: {found} {problem}", f"set it to a file ending in {', '.join(FORMATS)}", code="source.missing"
        )
    if found.suffix.lower() not in FORMATS:
        raise BadInput(
            f"source.path: {found} ends in none of {', '.join(FORMATS)}",
            "convert or rename the file",
            code="source.unknown-format",
        )
    return found


def load(path: Path, encoding: str, columns: Iterable[str]) -> pa.Table:
    """Read a table from a file.

    Args:
        path: a path from `locate`.
        encoding: the encoding of a text file.
        columns: columns of a CSV or TSV file to read as strings, without type inference.

    Raises:
        BadInput: the file is not readable.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    kind = FORMATS[path.suffix.lower()]
    try:
        if kind == "Parquet":
            return pa.parquet.read_table(path)
        content = io.BytesIO(_utf8(path, encoding))
        if kind == "JSONL":
            return pa.json.read_json(content, read_options=pa.json.ReadOptions(block_size=BLOCK))
        return pa.csv.read_csv(
            content,
            read_options=pa.csv.ReadOptions(block_size=BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter="\t" if kind == "TSV" else ",", newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                # No type inference: a text "3" and a label "NA" stay strings.
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, OSError) as error:
        problem = str(error).splitlines()[0]
        raise BadInput(
            f"source.path: {path} is not readable as {kind}: {problem}", "correct the file", code="source.malformed"
        ) from error


def _utf8(path: Path, encoding: str) -> bytes:
    """Return a file's text as UTF-8 without a byte order mark."""
    raw = path.read_bytes()
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"source.encoding: {path} line {line} is not {encoding}: byte 0x{raw[error.start]:02x}",
            "set source.encoding, e.g. encoding: latin-1",
            code="source.encoding",
        ) from None
    except LookupError:
        hint = "use e.g. utf-8, latin-1 or cp1252"
        raise BadInput(
            f"source.encoding: there is no encoding {encoding!r}", hint, code="source.unknown-encoding"
        ) from None
    if not text.strip("\ufeff \t\r\n"):
        raise BadInput(f"source.path: {path} is empty", "set it to a table with rows", code="source.empty")
    return text.removeprefix("\ufeff").encode()

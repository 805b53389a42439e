"""A table of texts and labels: CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from modelworks.data.sources.base import SPLITS, Examples, Modality, dataset_name, located
from modelworks.errors import BadInput
from modelworks.files.digest import file_digest, json_digest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Table"]

FORMATS = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSONL", ".ndjson": "JSONL", ".parquet": "Parquet"}
BLOCK = 1 << 26
"""Bytes that pyarrow parses at once: no row may be longer."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Texts with labels; a column called `split` (train, validation, test) is honoured.

    Labels lose the white space around them; an empty one is no label.
    """

    kind: Literal["table"]
    path: str
    """The file; relative to the project. Its ending says the format: .csv, .tsv, .jsonl, .ndjson, .parquet."""
    text: str
    """The column with the text."""
    label: str
    """The column with the class."""
    split: str = "split"
    """The column with the official split, if there is one."""
    keep: tuple[str, ...] = ()
    """Further columns to keep as strings, e.g. for `gate.slices`."""
    encoding: str = "utf-8"
    """Of CSV, TSV and JSONL."""
    name: str = ""
    """What to call the data set; the file's name when empty."""
    licence: str = "not stated"
    """Written beside the data."""
    modality: ClassVar[Modality] = "text"

    def __post_init__(self) -> None:
        dataset_name(self.name, Path(self.path).stem)
        if len({self.text, self.label, self.split}) < 3:
            raise ValueError(f"text ({self.text}), label ({self.label}) and split ({self.split}) must be three columns")
        taken = {self.text, self.label, self.split, "id", "text", "label", "split"} & set(self.keep)
        if taken:
            raise ValueError(f"keep: {', '.join(sorted(taken))} is kept already, or its name is taken")

    @property
    def dataset(self) -> str:
        return dataset_name(self.name, Path(self.path).stem)

    def fingerprint(self, root: Path) -> str:
        status = self._file(root).stat()
        return json_digest([status.st_size, status.st_mtime_ns])

    def read(self, root: Path) -> Examples:
        import pyarrow.compute as pc

        path = self._file(root)
        table = self._load(path)
        labels = pc.utf8_trim_whitespace(self._column(path, table, "label"))
        columns = {
            "text": self._column(path, table, "text"),
            "label": pc.if_else(pc.equal(labels, ""), None, labels),
        }
        # The default name may well be missing; one that the config gives may not.
        if self.split in table.column_names or self.split != "split":
            columns["split"] = self._splits(path, self._column(path, table, "split"))
        columns |= {name: self._column(path, table, "keep", name) for name in self.keep}
        if table.num_rows == 0:
            raise BadInput(f"source.path: {path} has no rows", "name a table with rows")
        return Examples(modality="text", columns=columns, licence=self.licence, source_digest=file_digest(path))

    def _file(self, root: Path) -> Path:
        path = located(self.path, root)
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise BadInput(f"source.path: {path} {problem}", f"name a table ending in {', '.join(FORMATS)}")
        if path.suffix.lower() not in FORMATS:
            raise BadInput(f"source.path: {path} ends in none of {', '.join(FORMATS)}", "convert or rename it")
        return path

    def _load(self, path: Path) -> pa.Table:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet

        kind = FORMATS[path.suffix.lower()]
        try:
            if kind == "Parquet":
                return pa.parquet.read_table(path)
            content = io.BytesIO(self._utf8(path))
            if kind == "JSONL":
                return pa.json.read_json(content, read_options=pa.json.ReadOptions(block_size=BLOCK))
            return pa.csv.read_csv(
                content,
                read_options=pa.csv.ReadOptions(block_size=BLOCK),
                parse_options=pa.csv.ParseOptions(delimiter="\t" if kind == "TSV" else ",", newlines_in_values=True),
                convert_options=pa.csv.ConvertOptions(
                    # No guessing: a text of "3" and a label of "NA" stay what they are.
                    column_types={name: pa.string() for name in (self.text, self.label, self.split, *self.keep)},
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowException, OSError) as error:
            problem = str(error).splitlines()[0]
            raise BadInput(f"source.path: {path} is not readable as {kind}: {problem}", "mend the file") from error

    def _utf8(self, path: Path) -> bytes:
        """The file's text as UTF-8 without a byte order mark."""
        raw = path.read_bytes()
        try:
            text = raw.decode(self.encoding)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise BadInput(
                f"source.encoding: {path} line {line} is not {self.encoding}: byte 0x{raw[error.start]:02x}",
                "name its encoding, e.g. encoding: latin-1",
            ) from None
        except LookupError:
            hint = "e.g. utf-8, latin-1, cp1252"
            raise BadInput(f"source.encoding: there is no encoding {self.encoding!r}", hint) from None
        if not text.strip("\ufeff \t\r\n"):
            raise BadInput(f"source.path: {path} is empty", "name a table with rows")
        return text.removeprefix("\ufeff").encode()

    def _column(self, path: Path, table: pa.Table, option: str, name: str = "") -> pa.Array:
        """The column that a field of this section names, as strings."""
        import pyarrow as pa

        name = name or getattr(self, option)
        count = table.column_names.count(name)
        if count != 1:
            problem = f"has {count} columns called {name!r}" if count else f"has no column {name!r}"
            hint = f"its columns are: {', '.join(table.column_names)}"
            raise BadInput(f"source.{option}: {path} {problem}", hint)
        try:
            column = table[name].cast(pa.string()).combine_chunks()
        except pa.ArrowException:
            problem = f"column {name!r} of {path} holds {table[name].type}"
            raise BadInput(f"source.{option}: {problem}, not strings", "name a column of strings") from None
        return column

    def _splits(self, path: Path, column: pa.Array) -> pa.Array:
        import pyarrow as pa

        values = [(value or "").strip().lower() for value in column.to_pylist()]
        unknown = next((row for row, value in enumerate(values) if value not in SPLITS), None)
        if unknown is not None:
            raise BadInput(
                f"source.split: column {self.split!r} of {path} holds {column[unknown].as_py()!r} in row {unknown}",
                "use train, validation and test in every row",
            )
        return pa.array([SPLITS[value] for value in values])

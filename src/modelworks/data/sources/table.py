"""A table with one row per example: CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelworks.data.features import Features
from modelworks.data.sources import table_file
from modelworks.data.sources.base import SPLITS, Examples, dataset_name
from modelworks.data.sources.table_columns import class_names, image_files, numbers
from modelworks.errors import BadInput
from modelworks.files.digest import file_digest, json_digest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Table"]

INPUTS = ("text", "image")
TARGETS = ("label", "labels", "number")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Texts or images with their targets.

    A column `split` (train, validation, test) is used if present.

    White space around labels is removed; an empty cell is a missing label.
    """

    kind: Literal["table"]
    path: str
    """The file; relative to the project. Its suffix gives the format: .csv, .tsv, .jsonl, .ndjson, .parquet."""
    text: str = ""
    """The column with the text; give this or `image`."""
    image: str = ""
    """The column with the paths of image files; relative to the table's folder."""
    label: str = ""
    """The column with the class; give this, `labels` or `number`."""
    labels: str = ""
    """The column with any number of classes per row: names joined by `separator`, or in JSONL and Parquet lists."""
    separator: str = "|"
    """The separator of names in `labels`."""
    number: str = ""
    """The column with the number to predict; a row whose cell is not a finite number is a bad row."""
    split: str = "split"
    """The column with the split; optional unless another name is given."""
    keep: tuple[str, ...] = ()
    """Further columns to keep as strings, e.g. for `gate.slices`."""
    encoding: str = "utf-8"
    """The encoding of CSV, TSV and JSONL files."""
    name: str = ""
    """The data set's name; the file's name if empty."""
    licence: str = "not stated"
    """The data's licence, written to dataset.json."""

    def __post_init__(self) -> None:
        dataset_name(self.name, Path(self.path).stem)
        for choices in (INPUTS, TARGETS):
            named = [option for option in choices if getattr(self, option)]
            if not named:
                raise ValueError(f"path: no column is given; give one of {', '.join(choices)}")
            if len(named) > 1:
                raise ValueError(f"{named[1]} and {named[0]} are both given; give one of {', '.join(choices)}")
        if not self.separator:
            raise ValueError("separator is empty; give the separator of names, e.g. '|'")
        used = {option: getattr(self, option) for option in (self._input, self._target, "split")}
        if len({*used.values()}) < 3:
            listed = ", ".join(f"{option} ({column})" for option, column in used.items())
            raise ValueError(f"{listed} must be three different columns")
        reserved = {*used.values(), "id", *used, *(["path"] if self.image else [])}
        if taken := reserved & {*self.keep}:
            raise ValueError(f"keep: {', '.join(sorted(taken))} is already used or reserved")

    @property
    def features(self) -> Features:
        return {option: {"kind": option} for option in (self._input, self._target)}

    @property
    def dataset(self) -> str:
        return dataset_name(self.name, Path(self.path).stem)

    def fingerprint(self, root: Path) -> str:
        path = table_file.locate(self.path, root)
        statuses = [_status(path)]
        if self.image:
            listed = self._strings(path, self._load(path), "image").to_pylist()
            statuses += [_status(path.parent / each) for each in listed if each]
        return json_digest(statuses if self.image else statuses[0])

    def read(self, root: Path) -> Examples:
        path = table_file.locate(self.path, root)
        table = self._load(path)
        if table.num_rows == 0:
            raise BadInput(f"source.path: {path} has no rows", "set it to a table with rows", code="source.empty")
        columns: dict[str, pa.Array] = {}
        digests = [file_digest(path)]
        if self.image:
            columns["path"] = self._strings(path, table, "image")
            columns["image"] = image_files(path, columns["path"])
            digests += [sha256(content or b"").hexdigest() for content in columns["image"].to_pylist()]
        else:
            columns["text"] = self._strings(path, table, "text")
        columns[self._target], details = self._targets(path, table)
        # The column with the default name may be missing; one that the config names may not.
        if self.split in table.column_names or self.split != "split":
            columns["split"] = self._splits(path, self._strings(path, table, "split"))
        columns |= {name: self._strings(path, table, "keep", name) for name in self.keep}
        return Examples(
            features=self.features,
            columns=columns,
            licence=self.licence,
            source_digest=digests[0] if len(digests) == 1 else json_digest(digests),
            details=details,
        )

    @property
    def _input(self) -> str:
        return next(option for option in INPUTS if getattr(self, option))

    @property
    def _target(self) -> str:
        return next(option for option in TARGETS if getattr(self, option))

    def _load(self, path: Path) -> pa.Table:
        used = (getattr(self, self._input), getattr(self, self._target), self.split, *self.keep)
        return table_file.load(path, self.encoding, used)

    def _column(self, path: Path, table: pa.Table, option: str, name: str = "") -> pa.ChunkedArray:
        """Return the column that a field of this section names."""
        name = name or getattr(self, option)
        count = table.column_names.count(name)
        if count != 1:
            problem = f"has {count} columns called {name!r}" if count else f"has no column {name!r}"
            hint = f"use one of its columns: {', '.join(table.column_names)}"
            raise BadInput(f"source.{option}: {path} {problem}", hint, code="source.missing-column")
        return table[name]

    def _strings(self, path: Path, table: pa.Table, option: str, name: str = "") -> pa.Array:
        import pyarrow as pa

        column = self._column(path, table, option, name)
        try:
            return column.cast(pa.string()).combine_chunks()
        except pa.ArrowException:
            problem = f"column {name or getattr(self, option)!r} of {path} has type {column.type}"
            raise BadInput(
                f"source.{option}: {problem}, not string", "name a column of strings", code="source.column-type"
            ) from None

    def _targets(self, path: Path, table: pa.Table) -> tuple[pa.Array, Mapping[str, str]]:
        """Return the target column, and remarks about it for dataset.json."""
        import pyarrow.compute as pc

        if self.label:
            names = pc.utf8_trim_whitespace(self._strings(path, table, "label"))
            return pc.if_else(pc.equal(names, ""), None, names), {}
        column = self._column(path, table, self._target)
        if self.labels:
            try:
                return class_names(column, self.separator), {}
            except TypeError:
                problem = f"column {self.labels!r} of {path} has type {column.type}"
                raise BadInput(
                    f"source.labels: {problem}, not class names",
                    "name a column of strings or of lists of strings",
                    code="source.column-type",
                ) from None
        values, others = numbers(column)
        if not others:
            return values, {}
        row, cell = next(iter(others.items()))
        return values, {"cells that are no finite number": f"{len(others)}, e.g. {cell[:60]!r} in row {row}"}

    def _splits(self, path: Path, column: pa.Array) -> pa.Array:
        import pyarrow as pa

        values = [(value or "").strip().lower() for value in column.to_pylist()]
        unknown = next((row for row, value in enumerate(values) if value not in SPLITS), None)
        if unknown is not None:
            raise BadInput(
                f"source.split: column {self.split!r} of {path} has {column[unknown].as_py()!r} in row {unknown}",
                "use train, validation and test in every row",
                code="source.unknown-split",
            )
        return pa.array([SPLITS[value] for value in values])


def _status(path: Path) -> list[int]:
    """Return a file's size and modification time.

    Zeros for a missing file, which `read` reports.
    """
    try:
        status = path.stat()
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]

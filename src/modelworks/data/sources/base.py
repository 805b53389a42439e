"""The interface of a data source, its examples, and functions for sources of a user's files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelworks.data.features import Features, inputs
from modelworks.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LABELLED_IMAGES", "LABELLED_TEXTS", "PACKAGED", "SPLITS", "Examples", "Source", "dataset_name", "located"]

LABELLED_IMAGES: Features = {"image": {"kind": "image"}, "label": {"kind": "label"}}
LABELLED_TEXTS: Features = {"text": {"kind": "text"}, "label": {"kind": "label"}}

PACKAGED = ("digits", "fashion", "mnist5k", "tweets")
"""Folders below data/ that are reserved for the packaged data sets."""

SPLITS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Accepted spellings, in lower case, of the names of splits."""

_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All rows of a source, before they are written as a data set."""

    features: Features
    """One input and the targets, by column, without classes: these are counted when the rows are written."""
    columns: Mapping[str, pa.Array]
    """The features (see `data/features.py`; a missing target is null), an optional `split` (train, validation, test),
    and further columns, such as `path`, that identify rows or define slices."""
    licence: str
    source_digest: str
    """SHA-256 of the bytes that were read."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Further information about the source of the rows."""

    @property
    def input(self) -> str:
        """The name of the input column."""
        (name,) = inputs(self.features)
        return name


class Source(Protocol):
    """A `source:` section, which locates and reads examples."""

    @property
    def kind(self) -> str: ...

    @property
    def features(self) -> Features:
        """The typed columns of the examples, without classes; known before they are read."""
        ...

    @property
    def dataset(self) -> str:
        """The name of the folder below data/."""
        ...

    def fingerprint(self, root: Path) -> str:
        """Return a digest that changes if the result of `read` may have changed.

        Cheap enough for every run.

        Relative paths are below `root`.

        Raises:
            BadInput: the source does not exist.
        """
        ...

    def read(self, root: Path) -> Examples:
        """Return every row, in an order that depends only on the source.

        Raises:
            BadInput: the source cannot be read.
        """
        ...


def dataset_name(given: str, file: str) -> str:
    """Return the name of a user's data set: the given name, or one derived from the file's name.

    Raises:
        ValueError: the name is not a valid folder name, or belongs to a packaged data set.
    """
    name = given or re.sub(r"[^a-z0-9]+", "-", file.lower()).strip("-")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r} is not lower-case words joined by dashes, e.g. my-data")
    if name in PACKAGED:
        raise ValueError(f"name {name!r} belongs to a packaged data set; use another one, e.g. name: my-{name}")
    return name


def located(path: str, root: Path) -> Path:
    """Return the path of a user's file or folder; a relative path is below `root`.

    Raises:
        BadInput: the path is in data/, which is only for data pinned by DVC.
    """
    found = root / Path(path).expanduser()
    if found.resolve().is_relative_to((root / "data").resolve()):
        raise BadInput(
            f"source.path: {found} is in data/, which is only for the data sets that DVC pins",
            "move it elsewhere, e.g. to sources/, and set source.path to the new path",
            code="source.inside-data",
        )
    return found

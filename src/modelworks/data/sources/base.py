"""What every source can do, the examples it yields, and what sources of a user's own files have in common."""

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
"""Folders below data/ that belong to the packaged sets."""

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
"""The spellings, in lower case, of an official split."""

_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All rows of a source, before they are packed."""

    features: Features
    """One input and the targets, by column, without classes: those are counted when the rows are packed."""
    columns: Mapping[str, pa.Array]
    """The features (see `data/features.py`; a target is null where the source has none), an optional `split` (train,
    validation, test), and any further columns, such as `path`: kept to name rows and slice by."""
    licence: str
    source_digest: str
    """SHA-256 over what was read."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Anything else worth keeping about where the rows come from."""

    @property
    def input(self) -> str:
        """The name of the column that a model reads."""
        (name,) = inputs(self.features)
        return name


class Source(Protocol):
    """A `source:` section: knows where examples are and how to read them."""

    @property
    def kind(self) -> str: ...

    @property
    def features(self) -> Features:
        """The typed columns of the examples it yields, known before they are read: kinds, no classes."""
        ...

    @property
    def dataset(self) -> str:
        """The name of the folder below data/."""
        ...

    def fingerprint(self, root: Path) -> str:
        """Changes when what `read` would yield may have changed; cheap enough for every run.

        Relative paths are below `root`.

        Raises:
            BadInput: nothing is there.
        """
        ...

    def read(self, root: Path) -> Examples:
        """Every row, in an order that depends on nothing but the source.

        Raises:
            BadInput: it cannot be read, with the place and the way out.
        """
        ...


def dataset_name(given: str, file: str) -> str:
    """What to call a data set of a user's own: the name they gave, or one made of the file's.

    Raises:
        ValueError: the name is not fit for a folder, or is a packaged set's.
    """
    name = given or re.sub(r"[^a-z0-9]+", "-", file.lower()).strip("-")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r} is not lower-case words joined by dashes, e.g. my-data")
    if name in PACKAGED:
        raise ValueError(f"name {name!r} belongs to a packaged data set; give this one another, e.g. name: my-{name}")
    return name


def located(path: str, root: Path) -> Path:
    """Where a user's own file or folder is; a relative path is below `root`.

    Raises:
        BadInput: it is in data/, where only what DVC pins stays.
    """
    found = root / Path(path).expanduser()
    if found.resolve().is_relative_to((root / "data").resolve()):
        raise BadInput(
            f"source.path: {found} is in data/, which holds what DVC pins of your sources and nothing else",
            "move it elsewhere, e.g. into sources/, and name that",
            code="source.inside-data",
        )
    return found

"""Rows that no data version may hold any more: `forgotten.json` at the project's root, kept in git with the configs.

    {"rows": [{"id": "<64 hex digits>", "when": "2026-11-22T14:00:00+00:00", "who": "...", "reason": "..."}]}

Ingest leaves these rows out whatever the source says, so that the next data version, and every model trained on it,
is without them. Data versions and models made before keep them until they are deleted.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from modelworks.data import dataset_format
from modelworks.errors import BadInput
from modelworks.fault_injection import effect
from modelworks.files.atomic_files import disk_errors, sync, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from modelworks.project import Project

__all__ = ["FILE", "Forgotten", "add", "forgotten", "forgotten_ids", "known"]

FILE = "forgotten.json"
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """One row that was to be forgotten."""

    id: str
    when: str
    """ISO 8601, UTC."""
    who: str
    reason: str


def forgotten(project: Project) -> tuple[Forgotten, ...]:
    """What was to be forgotten so far, oldest first.

    Raises:
        BadInput: the file is not what `add` writes.
    """
    path = _path(project)
    try:
        rows = tuple(Forgotten(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BadInput(
            f"{path} cannot be read: {error}",
            f"git checkout {FILE}, or mend it by hand",
            code="data.forgotten-unreadable",
        ) from error
    wrong = [str(row.id) for row in rows if not (isinstance(row.id, str) and len(row.id) == 64 and set(row.id) <= _HEX)]
    if wrong:
        # A row that is silently kept would be worse than a run that stops.
        raise BadInput(
            f"{path}: {wrong[0]!r} is no id of a row",
            "an id is 64 hexadecimal digits, in lower case",
            code="row.not-an-id",
        )
    return rows


def forgotten_ids(project: Project) -> frozenset[str]:
    """The ids alone."""
    return frozenset(row.id for row in forgotten(project))


def add(project: Project, rows: Iterable[Forgotten]) -> None:
    """Write down more rows; call while holding the project's lock on its data. Ids that are there already stay as they are."""
    before = forgotten(project)
    there = {row.id for row in before}
    path = _path(project)
    started = path.with_suffix(".new")
    with disk_errors(path):
        write_json(started, {"rows": [asdict(row) for row in (*before, *(row for row in rows if row.id not in there))]})
        with effect("forget.write"):
            os.replace(started, path)  # noqa: PTH105  # the atomic one, by name
            sync(path.parent)


def known(project: Project, prefix: str) -> dict[str, list[str]]:
    """The full ids that begin like this, in the data sets as they stand: `{id: names of the data sets that have it}`.

    Raises:
        BadInput: it is no beginning of an id.
        Corrupt: a data set is damaged.
    """
    import pyarrow.compute

    if not prefix or len(prefix) > 64 or not set(prefix) <= _HEX:
        raise BadInput(
            f"{prefix!r} is no id of a row",
            "an id, or the beginning of one, is hexadecimal: see examples.parquet",
            code="row.not-an-id",
        )
    found: dict[str, list[str]] = {}
    for folder in sorted(project.data.glob("*/examples.parquet")):
        ids = dataset_format.read(folder.parent, ["id"])["id"]
        matching = ids.filter(pyarrow.compute.starts_with(ids, pattern=prefix)).unique().to_pylist()
        for each in matching:
            found.setdefault(each, []).append(folder.parent.name)
    return found


def _path(project: Project) -> Path:
    return project.root / FILE

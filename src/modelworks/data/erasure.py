"""Read and write `forgotten.json`, the rows to exclude from future data versions.

It is committed to git.

    {"rows": [{"id": "<64 hex digits>", "when": "2026-11-22T14:00:00+00:00", "who": "...", "reason": "..."}]}

Ingest excludes these rows from the next data version, and so from every model trained on it. Existing data versions
and models contain them until they are deleted.
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
    """A forgotten row."""

    id: str
    when: str
    """ISO 8601, UTC."""
    who: str
    reason: str


def forgotten(project: Project) -> tuple[Forgotten, ...]:
    """Return the forgotten rows, oldest first.

    Raises:
        BadInput: the file is not in the format that `add` writes.
    """
    path = _path(project)
    try:
        rows = tuple(Forgotten(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BadInput(
            f"{path} cannot be read: {error}",
            f"run git checkout {FILE}, or correct it by hand",
            code="data.forgotten-unreadable",
        ) from error
    wrong = [str(row.id) for row in rows if not (isinstance(row.id, str) and len(row.id) == 64 and set(row.id) <= _HEX)]
    if wrong:
        # Stop the run rather than silently keep a row.
        raise BadInput(
            f"{path}: {wrong[0]!r} is not a row id",
            "use ids of 64 lower-case hexadecimal digits",
            code="row.not-an-id",
        )
    return rows


def forgotten_ids(project: Project) -> frozenset[str]:
    """Return the ids of the forgotten rows."""
    return frozenset(row.id for row in forgotten(project))


def add(project: Project, rows: Iterable[Forgotten]) -> None:
    """Add rows whose ids are not in the file yet. The caller holds the lock on data/."""
    before = forgotten(project)
    known_ids = {row.id for row in before}
    path = _path(project)
    temporary = path.with_suffix(".new")
    with disk_errors(path):
        new = [row for row in rows if row.id not in known_ids]
        write_json(temporary, {"rows": [asdict(row) for row in (*before, *new)]})
        with effect("forget.write"):
            os.replace(temporary, path)  # noqa: PTH105  # os.replace is documented as atomic
            sync(path.parent)


def known(project: Project, prefix: str) -> dict[str, list[str]]:
    """Return the ids in data/ that start with a prefix, as `{id: names of its data sets}`.

    Raises:
        BadInput: the prefix is not hexadecimal.
        Corrupt: a data set is damaged.
    """
    import pyarrow.compute

    if not prefix or len(prefix) > 64 or not set(prefix) <= _HEX:
        raise BadInput(
            f"{prefix!r} is not a row id",
            "give an id or its first hexadecimal digits: see examples.parquet",
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

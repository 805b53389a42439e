"""Rewrite absolute artifact URIs in the embedded store of a moved or copied project."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from modelworks.sqlite.databases import reading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["other_roots", "relocate"]

COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Columns of MLflow 3.17 that have artifact URIs."""
ROOT = "/mlflow/artifacts"
"""The end of the artifact URI of every project."""


def other_roots(database: Path) -> tuple[str, ...]:
    """Return artifact URIs of other project folders that this store has for its experiments.

    Only URIs of the form `<project>/mlflow/artifacts/<name>` count; others were set by the user.
    """
    here = _root(database)
    with reading(database) as connection:
        rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    found = {str(location).removesuffix(f"/{name}") for name, location in rows if str(location).endswith(f"/{name}")}
    return tuple(sorted(each for each in found if each.endswith(ROOT) and each != here and not _same(each, here)))


def relocate(database: Path) -> int:
    """Rewrite artifact URIs of other project folders to this one; return their number.

    All are rewritten in one transaction.
    """
    changed = 0
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        for root in other_roots(database):
            for table, columns in COLUMNS.items():
                for column in columns:
                    changed += connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                        (_root(database), len(root) + 1, len(root) + 1, f"{root}/"),
                    ).rowcount
    return changed


def _root(database: Path) -> str:
    return database.with_name("artifacts").as_uri()


def _same(one: str, other: str) -> bool:
    """Return whether two URIs are the same folder, e.g. through a symbolic link."""
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    first, second = (Path(url2pathname(urlsplit(each).path)) for each in (one, other))
    try:
        return first.samefile(second)
    except OSError:
        return False

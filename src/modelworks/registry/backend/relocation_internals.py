"""An embedded store whose project was moved or copied: MLflow keeps absolute addresses of artifacts in its tables."""

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
"""Where MLflow 3.17 keeps addresses of artifacts."""
ROOT = "/mlflow/artifacts"
"""What the address of every project's artifacts ends with."""


def other_roots(database: Path) -> tuple[str, ...]:
    """Addresses of other projects' artifacts under which this store's experiments are kept, though it is elsewhere.

    An experiment that a person gave another place is not meant: ours are all at `<project>/mlflow/artifacts/<name>`.
    """
    here = _root(database)
    with reading(database) as connection:
        rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    found = {str(location).removesuffix(f"/{name}") for name, location in rows if str(location).endswith(f"/{name}")}
    return tuple(sorted(each for each in found if each.endswith(ROOT) and each != here and not _same(each, here)))


def relocate(database: Path) -> int:
    """Let every address below another project's artifacts name the same file here; returns how many were rewritten.

    One transaction: it is done for all of them or for none.
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
    """Whether two addresses lead to one folder, by a link or another mount."""
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    first, second = (Path(url2pathname(urlsplit(each).path)) for each in (one, other))
    try:
        return first.samefile(second)
    except OSError:
        return False

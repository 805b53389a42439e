"""The databases that libraries keep inside a project: SQLite files, complete from the moment they have their name.

To create one, a library runs its whole history of migrations, which takes seconds (ARCHITECTURE.md has the figures). So
`make setup` keeps an empty one of each installed version in the environment, and a project begins with a copy.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import Corrupt, Unavailable
from modelworks.fault_injection import effect
from modelworks.files.atomic_files import disk_errors, sync
from modelworks.files.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["empty_database", "fault_of", "keep_empty", "make_database", "reading"]


def make_database(
    path: Path, library: str, build: Callable[[Path], None], settle: Callable[[Path], None] | None = None
) -> None:
    """Make the database of a library if there is none; a kill at any point leaves nothing that looks finished.

    Args:
        path: the name it gets when it is whole.
        library: the distribution whose version names the schema.
        build: creates the schema in a new file, used when the environment keeps no empty database.
        settle: adds to either what depends on the place.

    Raises:
        BadInput, Unavailable: the disk does not allow it, or another process is at it for minutes.
    """
    if path.exists():
        return
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock"), f"creating {path.name}"), disk_errors(path):
        if path.exists():  # another process was faster
            return
        for leftover in path.parent.glob(f".{path.name}-*"):  # of a killed one
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            aside, empty = Path(folder) / path.name, empty_database(library)
            if empty.exists():
                shutil.copyfile(empty, aside)
            else:
                _build_whole(aside, build)
            if settle is not None:
                settle(aside)
            for each in (aside, aside.parent):
                sync(each)
            with effect("embedded.rename", library):
                aside.rename(path)
                sync(path.parent)


def keep_empty(library: str, build: Callable[[Path], None]) -> Path:
    """Put an empty database of the installed version into the environment, in place of those of other versions."""
    kept = empty_database(library)
    kept.parent.mkdir(parents=True, exist_ok=True)
    for old in kept.parent.glob(f"{library}-*.db"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        aside = Path(folder) / kept.name
        _build_whole(aside, build)
        sync(aside)
        aside.rename(kept)
    return kept


def empty_database(library: str) -> Path:
    """Where the environment keeps, or would keep, an empty database of the installed version of a library."""
    return Path(sys.prefix) / "share" / "modelworks" / f"{library}-{importlib.metadata.version(library)}.db"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes no byte of a database, nor leaves a file beside it."""
    with path.open("rb") as stream:
        has_log = stream.read(20)[18:19] == b"\x02"
    # To open one with a write-ahead log makes that log and its index, unless it is said that nobody will write:
    # nobody does while the log is not there.
    alone = has_log and not path.with_name(f"{path.name}-wal").exists()
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(_read_only(path, "&immutable=1" if alone else "")))
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            # A writer was killed, and what it had half written must be taken back: in a copy.
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory())) / path.name
            for name in (path.name, f"{path.name}-journal"):
                shutil.copyfile(path.with_name(name), copy.with_name(name))
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(copy)))
        yield connection


def _read_only(path: Path, more: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro{more}", uri=True, timeout=20)


def _build_whole(path: Path, build: Callable[[Path], None]) -> None:
    """Build aside and copy into one file: what stands in a write-ahead log would not be renamed along."""
    started = path.with_suffix(".started")
    build(started)
    with contextlib.closing(sqlite3.connect(started)) as connection:
        connection.execute("VACUUM INTO ?", (str(path),))


def fault_of(path: Path, library: str, build: Callable[[Path], None]) -> str:
    """Return what a database lacks of the schema of the installed library, in words; empty when it is complete.

    SQLite's own check passes for a database whose migration was cut off, so revision, tables and columns are compared
    with those of an empty one. Changes nothing.

    Raises:
        Corrupt: the file is damaged.
        Unavailable: another process locks it.
    """
    revision, columns = _schema_of(path)
    with tempfile.TemporaryDirectory() as folder:
        empty = empty_database(library)
        if not empty.exists():
            empty = Path(folder) / path.name
            _build_whole(empty, build)
        expected_revision, expected_columns = _schema_of(empty)
    faults = (
        [] if revision == expected_revision else [f"its revision is {revision or 'not known'}, not {expected_revision}"]
    )
    if missing := sorted(".".join(each) for each in expected_columns - columns):
        faults.append(f"{len(missing)} columns are missing, e.g. {missing[0]}")
    return ", ".join(faults)


def _schema_of(path: Path) -> tuple[str, set[tuple[str, str]]]:
    """Return the Alembic revision, empty for none or several, and the (table, column) pairs of a database."""
    try:
        with reading(path) as connection:
            answer = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if answer != "ok":
                raise sqlite3.DatabaseError(answer)
            columns = {
                (str(table), str(column))
                for table, column in connection.execute(
                    "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name)"
                    " AS columns WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'"
                )
            }
            known = ("alembic_version", "version_num") in columns
            revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall() if known else []
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"{path}: {error}", "wait until the other process is done and run again", code="database.locked"
        ) from error
    except sqlite3.DatabaseError as error:
        raise Corrupt(
            f"{path} is damaged: {error}",
            f"put a backup in its place, or move {path} away: a new one is made",
            code="database.damaged",
        ) from error
    return str(revisions[0][0]) if len(revisions) == 1 else "", columns

"""Create, read and check the SQLite databases of MLflow and Prefect in a project.

A library creates its database by running all migrations, which takes seconds (see ARCHITECTURE.md). So `make setup`
stores an empty database of each installed version in the environment, and a new project copies it.
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
    """Create the database of a library atomically, if there is none.

    Args:
        path: of the complete database.
        library: the distribution whose version determines the schema.
        build: creates the schema in a new file if the environment has no empty database.
        settle: sets what depends on the path, after either.

    Raises:
        BadInput, Unavailable: the disk failed, or another process holds the lock.
    """
    if path.exists():
        return
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock"), f"creating {path.name}"), disk_errors(path):
        if path.exists():  # another process was faster
            return
        for leftover in path.parent.glob(f".{path.name}-*"):  # of a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            temporary, empty = Path(folder) / path.name, empty_database(library)
            if empty.exists():
                shutil.copyfile(empty, temporary)
            else:
                _build_single_file(temporary, build)
            if settle is not None:
                settle(temporary)
            for each in (temporary, temporary.parent):
                sync(each)
            with effect("embedded.rename", library):
                temporary.rename(path)
                sync(path.parent)


def keep_empty(library: str, build: Callable[[Path], None]) -> Path:
    """Store an empty database of the installed version in the environment; delete others."""
    target = empty_database(library)
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f"{library}-*.db"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        _build_single_file(temporary, build)
        sync(temporary)
        temporary.rename(target)
    return target


def empty_database(library: str) -> Path:
    """Return the path of the empty database of a library's installed version; it may not exist."""
    return Path(sys.prefix) / "share" / "modelworks" / f"{library}-{importlib.metadata.version(library)}.db"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection that writes no file."""
    with path.open("rb") as stream:
        has_log = stream.read(20)[18:19] == b"\x02"
    # Opening a WAL database creates its log and index, except with immutable=1. That is safe without a log file,
    # because then there is no writer.
    immutable = has_log and not path.with_name(f"{path.name}-wal").exists()
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(_read_only(path, "&immutable=1" if immutable else "")))
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            # A writer was killed: roll its transaction back in a copy.
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory())) / path.name
            for name in (path.name, f"{path.name}-journal"):
                shutil.copyfile(path.with_name(name), copy.with_name(name))
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(copy)))
        yield connection


def _read_only(path: Path, more: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro{more}", uri=True, timeout=20)


def _build_single_file(path: Path, build: Callable[[Path], None]) -> None:
    """Build in a temporary file, then copy into one file without a write-ahead log."""
    unvacuumed = path.with_suffix(".unvacuumed")
    build(unvacuumed)
    with contextlib.closing(sqlite3.connect(unvacuumed)) as connection:
        connection.execute("VACUUM INTO ?", (str(path),))


def fault_of(path: Path, library: str, build: Callable[[Path], None]) -> str:
    """Describe what a database lacks of the installed library's schema; empty if it is complete.

    SQLite's integrity check passes for an interrupted migration, so revision, tables and columns are compared with
    those of an empty database. Change nothing.

    Raises:
        Corrupt: the file is damaged.
        Unavailable: another process locks it.
    """
    revision, columns = _schema_of(path)
    with tempfile.TemporaryDirectory() as folder:
        empty = empty_database(library)
        if not empty.exists():
            empty = Path(folder) / path.name
            _build_single_file(empty, build)
        expected_revision, expected_columns = _schema_of(empty)
    faults = (
        [] if revision == expected_revision else [f"its revision is {revision or 'not known'}, not {expected_revision}"]
    )
    if missing := sorted(".".join(each) for each in expected_columns - columns):
        faults.append(f"{len(missing)} columns are missing, e.g. {missing[0]}")
    return ", ".join(faults)


def _schema_of(path: Path) -> tuple[str, set[tuple[str, str]]]:
    """Return the Alembic revision, empty for none or several, and all (table, column) pairs."""
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
            f"put a backup in its place, or move {path} away: a new one is created",
            code="database.damaged",
        ) from error
    return str(revisions[0][0]) if len(revisions) == 1 else "", columns

"""Embedded databases that are not whole: a migration that was cut off leaves one that SQLite finds in order.

`PRAGMA integrity_check` says ok to it, and the library it belongs to never starts again. So the schema is compared with
that of an empty database of the installed version: the revision, every table and every column.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.atomic_files import disk_errors, sync
from modelworks.errors import Corrupt, Interrupted, Unavailable
from modelworks.fault_injection import fault_point
from modelworks.locks import locked
from modelworks.sqlite.databases import build_whole, empty_database, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Library", "fault_of", "mend", "schema_of"]

REVISIONS = "alembic_version"


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library that keeps a database in a project."""

    name: str
    """Of its distribution."""
    build: Callable[[Path], None]
    """Creates its schema in a new file."""
    upgrade: Callable[[Path], None]
    """Brings an older file to it, by the library's own migrations; raises when they do not fit."""
    holds: str
    """The table without whose rows its creation was never finished."""
    settle: Callable[[Path, Path], None] = lambda aside, path: None
    """Adds to an empty file what depends on the path it is to have."""


@dataclass(frozen=True)
class Schema:
    """What is compared."""

    revision: str
    """Of the migrations; empty when the database names none, or several."""
    columns: frozenset[tuple[str, str]]
    """Every table's."""


def fault_of(path: Path, library: Library) -> str:
    """What a database lacks, in words; empty when it is whole. Changes nothing.

    Raises:
        Corrupt: the file is damaged: no migration can help.
        Unavailable: another process locks it.
    """
    with _model(library) as model:
        return _difference(schema_of(path), schema_of(model))


def mend(path: Path, library: Library) -> str:
    """Make a database whole, a copy of what it was kept beside it; returns how, in words.

    The library's own migrations are tried on a copy; where they fail, an empty database takes over all the rows. What
    comes of it gets the name only when nothing is missing any more.

    Raises:
        Corrupt: the file is damaged, or its rows do not fit; it stays as it is.
        Unavailable: another process uses it.
    """
    with (
        locked(path.with_name(f"{path.name}.lock"), f"mending {path.name}"),
        disk_errors(path),
        _model(library) as model,
    ):
        kept = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        _copy_alone(path, kept)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            aside = Path(folder) / path.name
            # Migrations alone do not finish what was only begun: the library adds rows of its own after them.
            if _holds_rows(kept, library) and _migrate(kept, aside, model, library):
                how = "migrated"
            else:
                how = f"made anew around its {_carry_over(kept, aside, model, library, path):,} rows"
            sync(aside)
            fault_point("repair.before_rename", library.name)
            aside.rename(path)
            sync(path.parent)
            fault_point("repair.after_rename", library.name)
    return f"{how}; what it was is kept as {kept.name}"


def schema_of(path: Path) -> Schema:
    """The schema of a database.

    Raises:
        Corrupt: it is damaged.
        Unavailable: another process locks it.
    """
    try:
        with reading(path) as connection:
            answer = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if answer != "ok":
                raise sqlite3.DatabaseError(answer)
            columns = frozenset(
                connection.execute(
                    "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name)"
                    " AS columns WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'"
                )
            )
            known = (REVISIONS, "version_num") in columns
            revisions = connection.execute(f"SELECT version_num FROM {REVISIONS}").fetchall() if known else []  # noqa: S608
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{path}: {error}", "wait until the other process is done and run again") from error
    except sqlite3.DatabaseError as error:
        raise Corrupt(
            f"{path} is damaged: {error}", f"put a backup in its place, or move {path} away: a new one is made"
        ) from error
    return Schema(str(revisions[0][0]) if len(revisions) == 1 else "", columns)


def _difference(found: Schema, whole: Schema) -> str:
    missing = whole.columns - found.columns
    tables = {table for table, _ in whole.columns} - {table for table, _ in found.columns}
    faults = []
    if found.revision != whole.revision:
        faults.append(f"its revision is {found.revision or 'not known'}, not {whole.revision}")
    if tables:
        faults.append(f"{len(tables)} tables are missing, e.g. {min(tables)}")
    if columns := sorted(f"{table}.{column}" for table, column in missing if table not in tables):
        faults.append(f"{len(columns)} columns are missing, e.g. {columns[0]}")
    return ", ".join(faults)


@contextlib.contextmanager
def _model(library: Library) -> Iterator[Path]:
    """An empty database of the installed version: the one the environment keeps, or one made now."""
    kept = empty_database(library.name)
    if kept.exists():
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "empty.db"
        build_whole(made, library.build)
        yield made


def _copy_alone(path: Path, kept: Path) -> None:
    """Copy a database that nobody else uses, its write-ahead log included, which is then empty."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=2, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")
            shutil.copyfile(path, kept)
            sync(kept)
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{path}: {error}", "stop the process that uses it and run again") from error


def _migrate(kept: Path, aside: Path, model: Path, library: Library) -> bool:
    """Whether the library's own migrations make it whole."""
    started = aside.with_suffix(".migrated")
    shutil.copyfile(kept, started)
    try:
        library.upgrade(started)
    except Interrupted:
        raise
    except Exception:  # whatever a migration raises on a schema that it does not know: there is the other way
        return False
    with contextlib.closing(sqlite3.connect(started)) as connection:
        connection.execute("VACUUM INTO ?", (str(aside),))  # with what stands in its write-ahead log
    if not _difference(schema_of(aside), schema_of(model)):
        return True
    aside.unlink()
    return False


def _carry_over(kept: Path, aside: Path, model: Path, library: Library, path: Path) -> int:
    """Fill an empty database with all the rows of another; returns how many there were."""
    shutil.copyfile(model, aside)
    old, new = schema_of(kept), schema_of(aside)
    rows = 0
    try:
        with contextlib.closing(sqlite3.connect(aside)) as connection, connection:
            connection.execute("ATTACH ? AS old", (str(kept),))
            for table in sorted({table for table, _ in old.columns & new.columns} - {REVISIONS}):
                common = ", ".join(f'"{name}"' for each, name in sorted(old.columns & new.columns) if each == table)
                (number,) = connection.execute(f'SELECT count(*) FROM old."{table}"').fetchone()  # noqa: S608
                if number:
                    connection.execute(f'DELETE FROM main."{table}"')  # noqa: S608
                    connection.execute(f'INSERT INTO main."{table}" ({common}) SELECT {common} FROM old."{table}"')  # noqa: S608
                    rows += number
    except sqlite3.IntegrityError as error:
        raise Corrupt(
            f"{path}: its rows do not fit the schema of the installed {library.name}: {error}",
            f"install the {library.name} that wrote them, or move {path} away: a new one is made",
        ) from error
    if not _holds_rows(kept, library):
        library.settle(aside, path)
    return rows


def _holds_rows(kept: Path, library: Library) -> bool:
    with reading(kept) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if library.holds not in tables:
            return False
        return connection.execute(f'SELECT 1 FROM "{library.holds}" LIMIT 1').fetchone() is not None  # noqa: S608

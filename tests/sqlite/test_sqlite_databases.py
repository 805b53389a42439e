"""Embedded databases are built or copied atomically."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelworks.sqlite.databases import empty_database, keep_empty, make_database

LIBRARY = "filelock"
"""Any installed distribution: its version is in the file name."""


@pytest.fixture(autouse=True)
def _separate_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "project" / "some.db"


def build(path: Path) -> None:
    """Create a schema that is only in the write-ahead log: the connection is not closed."""
    build.open = sqlite3.connect(path)  # type: ignore[attr-defined]
    build.open.execute("PRAGMA journal_mode = WAL")  # type: ignore[attr-defined]
    build.open.execute("CREATE TABLE place (name TEXT)")  # type: ignore[attr-defined]
    build.open.execute("INSERT INTO place VALUES ('nowhere')")  # type: ignore[attr-defined]
    build.open.commit()  # type: ignore[attr-defined]


def never(_path: Path) -> None:
    pytest.fail("there is an empty database to copy")


def settle(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE place SET name = 'here'")


def places(path: Path) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name FROM place").fetchall()


def test_database_is_built_without_an_empty_one_in_the_environment(database: Path) -> None:
    make_database(database, LIBRARY, build, settle)
    assert places(database) == [("here",)]
    assert sorted(each.name for each in database.parent.iterdir()) == ["some.db", "some.db.lock"]


def test_database_is_copied_from_the_environment(database: Path) -> None:
    kept = keep_empty(LIBRARY, build)
    make_database(database, LIBRARY, never, settle)
    assert places(database) == [("here",)]
    assert places(kept) == [("nowhere",)]


def test_existing_database_is_not_changed(database: Path) -> None:
    make_database(database, LIBRARY, build)
    before = database.read_bytes()
    make_database(database, LIBRARY, never, settle)
    assert database.read_bytes() == before


def test_environment_has_only_the_database_of_the_installed_version() -> None:
    old = empty_database(LIBRARY).with_name(f"{LIBRARY}-0.0.1.db")
    old.parent.mkdir(parents=True)
    old.touch()
    kept = keep_empty(LIBRARY, build)
    assert list(old.parent.iterdir()) == [kept]
    assert kept.stem == f"{LIBRARY}-{importlib.metadata.version(LIBRARY)}"


@pytest.mark.parametrize(
    "make", [lambda path: make_database(path, LIBRARY, fail), lambda path: keep_empty(LIBRARY, fail)]
)
def test_failed_build_leaves_no_files(database: Path, make: Callable[[Path], object]) -> None:
    with pytest.raises(ZeroDivisionError):
        make(database)
    assert not database.exists()
    assert not list(database.parent.glob(".*"))
    assert not empty_database(LIBRARY).parent.exists() or not list(empty_database(LIBRARY).parent.iterdir())


def fail(path: Path) -> None:
    build(path)
    raise ZeroDivisionError


def test_leftovers_of_a_killed_process_are_deleted(database: Path) -> None:
    leftover = database.parent / ".some.db-killed"
    leftover.mkdir(parents=True)
    make_database(database, LIBRARY, build)
    assert not leftover.exists()

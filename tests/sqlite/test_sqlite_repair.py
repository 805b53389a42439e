"""Databases that are not whole: seen although SQLite finds them in order, mended with all their rows, a copy kept."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modelworks.errors import Corrupt, Interrupted, Unavailable
from modelworks.sqlite.databases import keep_empty
from modelworks.sqlite.repair import Library, fault_of, mend

NAME = "filelock"
"""Any installed distribution: its version names the empty database that the environment keeps."""


def run(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """SQL on a database, committed; the rows of the last statement."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return [connection.execute(each).fetchall() for each in statements][-1]


def build(path: Path) -> None:
    run(
        path,
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('two')",
        "CREATE TABLE place (name TEXT)",
        "INSERT INTO place VALUES ('nowhere')",
        "CREATE TABLE models (name TEXT NOT NULL, stage TEXT DEFAULT 'new')",
    )


def upgrade(path: Path) -> None:
    """From revision one, which had models without a stage; on anything else it stumbles, as real migrations do."""
    run(
        path,
        "CREATE TABLE place (name TEXT)",
        "ALTER TABLE models ADD COLUMN stage TEXT DEFAULT 'migrated'",
        "UPDATE alembic_version SET version_num = 'two'",
    )


def settle(aside: Path, path: Path) -> None:
    run(aside, f"UPDATE place SET name = '{path.name}'")


LIBRARY = Library(name=NAME, holds="models", build=build, upgrade=upgrade, settle=settle)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    keep_empty(NAME, build)
    return tmp_path / "some.db"


def test_a_whole_one_has_no_fault(path: Path) -> None:
    build(path)
    assert fault_of(path, LIBRARY) == ""


def test_it_is_compared_with_one_made_now_when_the_environment_keeps_none(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "nowhere"))
    build(path)
    assert fault_of(path, LIBRARY) == ""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM alembic_version", "its revision is not known, not two"),
        ("DROP TABLE alembic_version", "its revision is not known, not two"),
        ("INSERT INTO alembic_version VALUES ('three')", "its revision is not known, not two"),
        ("UPDATE alembic_version SET version_num = 'zero'", "its revision is zero, not two"),
        ("DROP TABLE place", "1 tables are missing, e.g. place"),
        ("ALTER TABLE models DROP COLUMN stage", "1 columns are missing, e.g. models.stage"),
    ],
)
def test_half_a_schema_is_seen_and_mended_with_all_rows(path: Path, damage: str, said: str) -> None:
    build(path)
    run(path, "INSERT INTO models (name) VALUES ('kept')", damage)
    before = path.read_bytes()
    assert run(path, "PRAGMA integrity_check") == [("ok",)]
    assert said in fault_of(path, LIBRARY)
    assert path.read_bytes() == before, "to look changes nothing"

    how = mend(path, LIBRARY)

    assert fault_of(path, LIBRARY) == ""
    assert run(path, "SELECT name FROM models") == [("kept",)]
    (kept,) = path.parent.glob("some.db.before-*")
    assert kept.name in how
    assert kept.read_bytes() == before
    assert not list(path.parent.glob(".some.db-*"))


def test_an_older_one_is_migrated_by_its_library(path: Path) -> None:
    run(
        path,
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('one')",
        "CREATE TABLE models (name TEXT NOT NULL)",
        "INSERT INTO models VALUES ('old')",
    )
    assert mend(path, LIBRARY).startswith("migrated")
    assert run(path, "SELECT name, stage FROM models") == [("old", "migrated")]
    assert fault_of(path, LIBRARY) == ""


def test_one_that_was_begun_and_holds_nothing_is_made_anew_for_its_place(path: Path) -> None:
    run(path, "CREATE TABLE models (name TEXT NOT NULL)")
    assert "made anew around its 0 rows" in mend(path, LIBRARY)
    assert run(path, "SELECT name FROM place") == [("some.db",)]


def test_what_stands_in_the_write_ahead_log_comes_along(path: Path) -> None:
    build(path)
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO models (name) VALUES ('late')")
    writer.execute("DELETE FROM alembic_version")
    writer.commit()
    copied = path.with_name("copied.db")
    for tail in ("", "-wal"):  # as a kill leaves them
        Path(f"{copied}{tail}").write_bytes(Path(f"{path}{tail}").read_bytes())
    writer.close()
    mend(copied, LIBRARY)
    assert run(copied, "SELECT name FROM models") == [("late",)]


def test_rows_that_do_not_fit_leave_it_as_it_is(path: Path) -> None:
    run(path, "CREATE TABLE models (name TEXT)", "INSERT INTO models VALUES (NULL)")
    before = path.read_bytes()
    with pytest.raises(Corrupt, match="do not fit"):
        mend(path, LIBRARY)
    assert path.read_bytes() == before


def test_a_signal_while_it_is_migrated_leaves_it_as_it_is(path: Path) -> None:
    def stop(_: Path) -> None:
        raise Interrupted(signal.SIGTERM)

    run(path, "CREATE TABLE models (name TEXT NOT NULL)", "INSERT INTO models VALUES ('old')")
    before = path.read_bytes()
    with pytest.raises(Interrupted):
        mend(path, replace(LIBRARY, upgrade=stop))
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".some.db-*"))


def test_a_damaged_file_is_not_touched(path: Path) -> None:
    build(path)
    path.write_bytes(b"not a database" * 100)
    before = path.read_bytes()
    with pytest.raises(Corrupt, match="damaged"):
        fault_of(path, LIBRARY)
    assert path.read_bytes() == before


def test_one_that_another_process_uses_is_not_touched(path: Path) -> None:
    build(path)
    run(path, "DELETE FROM alembic_version")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked"):
            mend(path, LIBRARY)
    assert run(path, "SELECT count(*) FROM alembic_version") == [(0,)]

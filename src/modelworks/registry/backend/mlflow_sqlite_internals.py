"""Read and set up MLflow's SQLite tables by SQL. The table layout is undocumented.

`tests/contracts/test_contracts_mlflow_3_17.py` compares every query with what MLflow's client returns, and fails when
the installed MLflow has another schema revision. The public replacements are `MlflowClient.search_model_versions`,
`get_model_version_by_alias` and `search_runs`; they need `import mlflow`, which takes about 2 s.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from modelworks.errors import Corrupt, Unavailable
from modelworks.sqlite.databases import reading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "REVISION",
    "files_of",
    "has_running",
    "production_of",
    "read_revision",
    "set_default_location",
    "tags_of",
    "version_of",
]

REVISION = "dc11669786a5"
"""Alembic revision of the schema that MLflow 3.17 creates and the queries below expect."""
WORKSPACE = "default"
"""MLflow's name for the only workspace of a store without workspaces."""


def read_revision(path: Path) -> str:
    """Return the schema revision of an SQLite store.

    Raises:
        Corrupt: the file is not a complete store.
        Unavailable: another process locks it.
    """
    hint = f"move {path} away (a new store is created), or put a backup in its place"
    try:
        with reading(path) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise Unavailable(
                f"{path}: {error}", "wait until the other process is done and run again", code="mlflow.database-locked"
            ) from error
        raise Corrupt(
            f"{path} is not a complete MLflow store: {error}", hint, code="mlflow.database-incomplete"
        ) from error
    except sqlite3.DatabaseError as error:
        raise Corrupt(f"{path} cannot be read: {error}", hint, code="mlflow.database-damaged") from error
    if len(rows) != 1:
        raise Corrupt(
            f"{path} is not a complete MLflow store: it has {len(rows)} schema revisions",
            hint,
            code="mlflow.database-incomplete",
        )
    return str(rows[0][0])


def version_of(connection: sqlite3.Connection, name: str, tag: str, value: str) -> int | None:
    """Return the first version of a model with a tag, or None; ignore deleted versions."""
    (version,) = connection.execute(
        "SELECT min(version) FROM model_version_tags JOIN model_versions USING (workspace, name, version)"
        " WHERE workspace = ? AND name = ? AND key = ? AND value = ? AND current_stage IS NOT 'Deleted_Internal'",
        (WORKSPACE, name, tag, value),
    ).fetchone()
    return version if version is None else int(version)


def tags_of(connection: sqlite3.Connection, name: str, version: int) -> dict[str, str]:
    """Return the tags of a version."""
    rows = connection.execute(
        "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?",
        (WORKSPACE, name, version),
    )
    return dict(rows.fetchall())


def production_of(connection: sqlite3.Connection, name: str, alias: str) -> int:
    """Return the version that an alias points to, 0 for none."""
    row = connection.execute(
        "SELECT version FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?",
        (WORKSPACE, name, alias),
    ).fetchone()
    return int(row[0]) if row else 0


def has_running(connection: sqlite3.Connection, experiment: str) -> bool:
    """Return whether a run of an experiment has the status RUNNING."""
    (number,) = connection.execute(
        "SELECT count(*) FROM runs JOIN experiments USING (experiment_id)"
        " WHERE experiments.name = ? AND runs.status = 'RUNNING'",
        (experiment,),
    ).fetchone()
    return bool(number)


def set_default_location(path: Path, artifacts: str) -> None:
    """Set artifact location and time of the default experiment in a copied database.

    Args:
        path: the database.
        artifacts: URI of the folder for artifacts.
    """
    now = int(time.time() * 1000)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ?",
            (f"{artifacts}/0", now, now),
        )


def files_of(connection: sqlite3.Connection, name: str, version: int, tag: str) -> tuple[str, str, str]:
    """Return the URI of a version's package, a tag value, and the URI of its run's artifacts.

    Each is empty if the store has none.
    """
    row = connection.execute(
        "SELECT source, (SELECT value FROM model_version_tags t WHERE t.workspace = v.workspace AND t.name = v.name"
        " AND t.version = v.version AND t.key = ?), runs.artifact_uri"
        " FROM model_versions v LEFT JOIN runs ON runs.run_uuid = v.run_id"
        " WHERE v.workspace = ? AND v.name = ? AND v.version = ?",
        (tag, WORKSPACE, name, version),
    ).fetchone()
    source, value, artifacts = row or (None, None, None)
    return str(source or ""), str(value or ""), str(artifacts or "")

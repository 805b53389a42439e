"""The database of our Prefect server."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from modelworks.servers import prefect_server


@pytest.mark.slow
def test_schema_is_created_by_prefect_migrations(tmp_path: Path) -> None:
    prefect_server.build_schema(tmp_path / "prefect.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "prefect.db")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"flow_run", "task_run", "artifact", "alembic_version"} <= tables
        assert connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)

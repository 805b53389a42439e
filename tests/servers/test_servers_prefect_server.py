"""Prefect's server as we start it: its database, and what it tells a client that comes at a bad time."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from modelworks.servers import prefect_server


def test_its_schema_is_made_by_prefects_own_migrations(tmp_path: Path) -> None:
    prefect_server.build_schema(tmp_path / "prefect.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "prefect.db")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"flow_run", "task_run", "artifact", "alembic_version"} <= tables
        assert connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)


@pytest.mark.parametrize(("status", "told"), [(503, "0.05"), (500, None), (200, None)])
def test_who_meets_a_busy_database_is_told_to_come_again_at_once(status: int, told: str | None) -> None:
    def answer(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("", status)

    client = TestClient(prefect_server._retried_soon(Starlette(routes=[Route("/", answer)])))  # nothing else shows it
    assert client.get("/").headers.get("retry-after") == told


def test_who_keeps_meeting_a_busy_database_is_told_to_wait_longer_until_one_is_answered() -> None:
    statuses = iter([503, 503, 503, 503, 503, 200, 503])

    def answer(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("", next(statuses))

    client = TestClient(prefect_server._retried_soon(Starlette(routes=[Route("/{path:path}", answer)])))
    told = [client.get("/slots").headers.get("retry-after") for _ in range(7)]
    assert told == ["0.05", "0.2", "0.8", "3.2", "3.2", None, "0.05"]

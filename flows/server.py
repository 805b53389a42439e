"""Prefect's server as a child process: `python -m flows.server PARENT SOCKET URL api|pages`.

It makes its SQLite database once, aside and under a lock, serves on the loopback socket that its parent opened, and
ends when its parent does.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import socket
import sqlite3
import sys
from pathlib import Path

from modelworks.process import die_with_parent


def main() -> None:
    """Serve on the socket that the parent opened until told to stop."""
    parent, descriptor, url, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    die_with_parent(parent)
    database = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    os.environ.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)  # our output is a log file: there it belongs
    os.environ |= {
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_UI_ENABLED": "1" if mode == "pages" else "0",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        **({} if mode == "pages" else {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}),
    }
    _make_database(database)
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app(), log_level="error", lifespan="on", timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _make_database(database: Path) -> None:
    """Create the schema in a file aside and rename it: a kill in the middle leaves nothing that looks finished."""
    from filelock import FileLock

    with FileLock(database.with_suffix(".lock")):
        if database.exists():
            return
        aside, whole = database.with_suffix(".new"), database.with_suffix(".whole")
        _delete(aside)
        _delete(whole)

        # In a fork, because Prefect keeps the first database it meets for good, and ours is yet to get its name.

        child = multiprocessing.get_context("fork").Process(target=_create_schema, args=(aside,))
        child.start()
        importlib.import_module("prefect.server.api.server")  # what is served next, while the child works

        child.join()
        if child.exitcode:
            raise SystemExit(f"Prefect's database could not be created (exit code {child.exitcode})")
        with contextlib.closing(sqlite3.connect(aside)) as connection:
            # A copy in one file: what stands in the write-ahead log would not be renamed along.
            connection.execute("VACUUM INTO ?", (str(whole),))
        whole.replace(database)
        _delete(aside)


def _create_schema(database: Path) -> None:
    from prefect.server.database import provide_database_interface
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

    async def create() -> None:
        await provide_database_interface().create_db()

    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}"}):
        asyncio.run(create())


def _delete(database: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


if __name__ == "__main__":
    main()

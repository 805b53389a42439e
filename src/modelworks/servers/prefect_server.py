"""Prefect's server as a child process: `python -m modelworks.servers.prefect_server PARENT SOCKET URL api|pages`.

It makes its SQLite database if there is none, serves on the loopback socket that its parent opened, and ends when its
parent does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import Corrupt, Unavailable
from modelworks.process import die_with_parent, rare_garbage_collection
from modelworks.servers.host_origin_check import Access, guarded
from modelworks.sqlite.databases import make_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["build_schema", "upgrade_schema"]

RETRY_SECONDS = (0.05, 0.2, 0.8, 3.2)
"""After which a client that got a 503 is to come again: the first time, the second, and so on."""


def main() -> None:
    """Serve on the socket that the parent opened until told to stop."""
    parent, descriptor, url, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    die_with_parent(parent)
    listener = socket.socket(fileno=descriptor)
    access = Access.local(listener.getsockname()[1])
    database = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    os.environ.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)  # our output is a log file: there it belongs
    os.environ |= {
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(access.origins)),
        "PREFECT_UI_ENABLED": "1" if mode == "pages" else "0",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        **({} if mode == "pages" else {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}),
    }
    make_database(database, "prefect", build_schema)
    with rare_garbage_collection():
        import uvicorn
        from prefect.server.api.server import create_app

        app = create_app()
    config = uvicorn.Config(
        guarded(_retried_soon(app), access),
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _retried_soon(app: ASGIApp) -> ASGIApp:
    """The app, saying when to come again where it answers 503: SQLite's writers are in each other's way for an instant.

    Prefect's clients, if they are not told, wait two seconds and more. They come six times in all, so on a machine that
    is too busy they are told to wait longer each time.
    """
    refused = Counter[str]()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_time(message: Message) -> None:
            if message.get("status") == 503:
                seconds = RETRY_SECONDS[min(refused[scope["path"]], len(RETRY_SECONDS) - 1)]
                refused[scope["path"]] += 1
                message["headers"] = [*message["headers"], (b"retry-after", str(seconds).encode())]
            elif "status" in message:
                refused.pop(scope["path"], None)
            await send(message)

        await app(scope, receive, send_with_time)

    return answer


def build_schema(path: Path) -> None:
    """Create the schema in a new file by Prefect's own migrations.

    Raises:
        Unavailable: Prefect could not do it.
    """
    if code := _in_a_fork(_migrate, path):
        raise Unavailable(f"Prefect's database could not be created (exit code {code})", "run again")


def upgrade_schema(path: Path) -> None:
    """Bring an older database to this Prefect's schema, in place and not atomically: to be called on a copy.

    Raises:
        Corrupt: Prefect's migrations do not fit it.
    """
    if code := _in_a_fork(_migrate_quietly, path):
        raise Corrupt(f"Prefect's migrations do not fit {path} (exit code {code})")


def _in_a_fork(work: Callable[[Path], None], path: Path) -> int | None:
    """Its exit code. In a fork, because Prefect keeps the first database it meets for good."""
    child = multiprocessing.get_context("fork").Process(target=work, args=(path,))
    child.start()
    child.join()
    return child.exitcode


def _migrate_quietly(path: Path) -> None:
    """As `_migrate`, for what may well fail: its traceback is no news to anybody."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123  # it is no place
        os.dup2(nowhere.fileno(), 2)
    _migrate(path)


def _migrate(path: Path) -> None:
    from prefect.server.database import provide_database_interface
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

    async def create() -> None:
        await provide_database_interface().create_db()

    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{path}"}):
        asyncio.run(create())


if __name__ == "__main__":
    main()

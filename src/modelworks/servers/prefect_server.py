"""Run Prefect's server.

`python -m modelworks.servers.prefect_server PARENT SOCKET URL api|pages`

It creates the SQLite database if there is none, serves on the loopback socket that its parent opened, and ends when its
parent does. `prefect server start` takes about 8 s longer until it answers (see ARCHITECTURE.md) and cannot check Host
and Origin.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from modelworks.errors import Unavailable
from modelworks.process import die_with_parent, rare_garbage_collection
from modelworks.servers.host_origin_check import Access, guarded
from modelworks.servers.prefect_app_internals import prefect_app
from modelworks.sqlite.databases import make_database

__all__ = ["build_schema"]


def main() -> None:
    """Serve on the socket that the parent opened until it is stopped."""
    parent, descriptor, url, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    die_with_parent(parent)
    listener = socket.socket(fileno=descriptor)
    access = Access.local(listener.getsockname()[1])
    database = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    os.environ.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)  # our output goes to a log file
    os.environ |= {
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(access.origins)),
        "PREFECT_UI_ENABLED": "1" if mode == "pages" else "0",
        "PREFECT_API_DATABASE_CONNECTION_URL": _address(database),
    }
    make_database(database, "prefect", build_schema)
    with rare_garbage_collection():
        import uvicorn

        # The server of a single run does not need Prefect's services (schedules, late runs).
        app = prefect_app(services=mode == "pages")
    config = uvicorn.Config(guarded(app, access), log_level="error", lifespan="on", timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])


def build_schema(path: Path) -> None:
    """Create the schema in a new file with Prefect's migrations.

    Raises:
        Unavailable: the migrations failed.
    """
    result = subprocess.run(
        [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "--yes"],
        env={**os.environ, "PREFECT_API_DATABASE_CONNECTION_URL": _address(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()[-1]
        raise Unavailable(f"Prefect's database could not be created: {reason}", "run again", code="prefect.database")


def _address(database: Path) -> str:
    return f"sqlite+aiosqlite:///{database}"


if __name__ == "__main__":
    main()

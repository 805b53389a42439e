"""Start a PostgreSQL server for tests, if PostgreSQL is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["binaries", "postgres"]

NOBODY = 65534


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs; None if it is not installed.

    Debian does not add it to PATH.
    """
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server with an empty cluster and yield its address."""
    programs = binaries()
    assert programs is not None
    # PostgreSQL does not run as root and needs a folder that its user can access.
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if user:
        os.chown(folder, NOBODY, NOBODY)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    cluster = folder / "cluster"
    try:
        make = [programs / "initdb", "-D", cluster, "-U", "team", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run(make, check=True, capture_output=True, cwd=folder, **user)
        options = ("fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories=", f"port={port}")
        server = subprocess.Popen(
            [programs / "postgres", "-D", cluster, *(part for each in options for part in ("-c", each))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **user,
        )
        try:
            _wait(programs, port, server)
            yield f"postgresql://team@127.0.0.1:{port}/postgres"
        finally:
            server.kill()
            server.wait()
    finally:
        shutil.rmtree(folder)


def _wait(programs: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "team"]
    while subprocess.run(ready, check=False).returncode:
        assert server.poll() is None, "PostgreSQL ended"
        assert time.monotonic() < deadline, "PostgreSQL did not start"
        time.sleep(0.05)  # between attempts to connect

"""Embedded databases are created atomically, despite kills and concurrent processes."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from faults.invariants import mlflow_head, prefect_head

HEADS = {"mlflow": mlflow_head, "prefect": prefect_head}

MAKE = """
import os, sys, time
from pathlib import Path
from modelworks.registry.backend import tracking_store
from modelworks.registry.backend.mlflow_sqlite_internals import set_default_location
from modelworks.servers import prefect_server
from modelworks.settings import QUIET
from modelworks.sqlite.databases import make_database

os.environ |= QUIET
path, library, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
builders = {
    "mlflow": (tracking_store.build_schema, lambda built: set_default_location(built, path.parent.as_uri())),
    "prefect": (prefect_server.build_schema, None),
}
if how == "build":
    sys.prefix = str(path.parent / "nowhere")  # there is no empty database in the environment
os.environ["PREFECT_HOME"] = str(path.parent / "home")
print("ready", flush=True)
sys.stdin.readline()
make_database(path, library, *builders[library])
"""

KILLED_AT_EVERY_EVENT = """
import os, signal, sys
from pathlib import Path
from modelworks.registry.backend.mlflow_sqlite_internals import set_default_location
from modelworks.registry.backend.tracking_store import build_schema
from modelworks.sqlite.databases import make_database

path = Path(sys.argv[1])
import filelock, sqlite3, tempfile  # lazy imports are not part of the creation

def make(path):
    make_database(path, "mlflow", build_schema, lambda built: set_default_location(built, path.parent.as_uri()))

make(path.with_name("warm.db"))

def kill_at(event_number):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event.startswith(("open", "os.", "shutil.", "tempfile.", "sqlite3.", "fcntl.")):
            seen += 1
            if seen == event_number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

events = 0
while True:
    events += 1
    path.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        kill_at(events)
        make(path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    size = path.stat().st_size if path.exists() else 0
    child = os.fork()  # the next process
    if child == 0:
        make(path)
        os._exit(0)
    _, after = os.waitpid(child, 0)
    print(killed, size, after, path.stat().st_size)
    if not killed:
        break
"""


def _start(path: Path, library: str, how: str) -> subprocess.Popen[str]:
    """Start a process that creates a database after it reads a line."""
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(path), library, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def _assert_complete(path: Path, library: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEADS[library](),)]
    assert not list(path.parent.glob(f".{path.name}-*"))


def test_copy_killed_at_every_event_leaves_no_database_or_a_complete_one(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_EVENT, str(tmp_path / "mlflow.db")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    events = [line.split() for line in result.stdout.splitlines()]
    assert len(events) > 15, "the hook saw too few events"
    complete = events[-1][3]
    assert {size for _, size, _, _ in events} == {"0", complete}
    assert {(after, size) for _, _, after, size in events} == {("0", complete)}
    _assert_complete(tmp_path / "mlflow.db", "mlflow")


@pytest.mark.slow
@pytest.mark.parametrize("library", ["mlflow", "prefect"])
def test_database_is_created_after_kills_during_migrations(tmp_path: Path, library: str) -> None:
    path, draw = tmp_path / f"{library}.db", random.Random(library)
    for _ in range(3):
        with _start(path, library, "build") as process:
            _go(process)
            time.sleep(draw.uniform(0, 3))  # the time of the kill, not a wait
            process.send_signal(signal.SIGKILL)
        if path.exists():  # it ended before the kill
            _assert_complete(path, library)
            path.unlink()
    with _start(path, library, "build") as process:
        _go(process)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    _assert_complete(path, library)


def test_eight_concurrent_processes_create_one_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    processes = [_start(path, "mlflow", "build" if number % 2 else "copy") for number in range(8)]
    for process in processes:
        _go(process)
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    _assert_complete(path, "mlflow")

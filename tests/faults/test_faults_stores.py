"""The embedded databases are made whole or not at all: killed at any time, or wanted by eight processes at once."""

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
making = {
    "mlflow": (tracking_store.build_schema, lambda built: set_default_location(built, path.parent.as_uri())),
    "prefect": (prefect_server.build_schema, None),
}
if how == "anew":
    sys.prefix = str(path.parent / "nowhere")  # the environment keeps no empty database there
os.environ["PREFECT_HOME"] = str(path.parent / "home")
print("ready", flush=True)
sys.stdin.readline()
make_database(path, library, *making[library])
"""

AT_ANY_MOMENT = """
import os, signal, sys
from pathlib import Path
from modelworks.registry.backend.mlflow_sqlite_internals import set_default_location
from modelworks.registry.backend.tracking_store import build_schema
from modelworks.sqlite.databases import make_database

path = Path(sys.argv[1])
import filelock, sqlite3, tempfile  # what is imported on the way is no moment of the making

def make(path):
    make_database(path, "mlflow", build_schema, lambda built: set_default_location(built, path.parent.as_uri()))

make(path.with_name("warm.db"))

def kill_at(moment):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event.startswith(("open", "os.", "shutil.", "tempfile.", "sqlite3.", "fcntl.")):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

moments = 0
while True:
    moments += 1
    path.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        kill_at(moments)
        make(path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    size = path.stat().st_size if path.exists() else 0
    child = os.fork()  # the next one to come
    if child == 0:
        make(path)
        os._exit(0)
    _, after = os.waitpid(child, 0)
    print(killed, size, after, path.stat().st_size)
    if not killed:
        break
"""


def _start(path: Path, library: str, how: str) -> subprocess.Popen[str]:
    """A process that makes a database when it is told to."""
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


def _assert_whole(path: Path, library: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEADS[library](),)]
    assert not list(path.parent.glob(f".{path.name}-*"))


def test_killed_at_every_moment_of_a_copy_the_next_one_finds_nothing_or_the_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_ANY_MOMENT, str(tmp_path / "mlflow.db")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    moments = [line.split() for line in done.stdout.splitlines()]
    assert len(moments) > 15, "the hook saw too few moments to say anything"
    whole = moments[-1][3]
    assert {size for _, size, _, _ in moments} == {"0", whole}
    assert {(after, size) for _, _, after, size in moments} == {("0", whole)}
    _assert_whole(tmp_path / "mlflow.db", "mlflow")


@pytest.mark.parametrize("library", ["mlflow", "prefect"])
def test_killed_at_random_times_of_its_migrations_it_is_made_by_the_next(tmp_path: Path, library: str) -> None:
    path, draw = tmp_path / f"{library}.db", random.Random(library)
    for _ in range(3):
        with _start(path, library, "anew") as process:
            _go(process)
            time.sleep(draw.uniform(0, 3))  # not to wait for anything: it is the moment of the kill
            process.send_signal(signal.SIGKILL)
        if path.exists():  # it was faster
            _assert_whole(path, library)
            path.unlink()
    with _start(path, library, "anew") as process:
        _go(process)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    _assert_whole(path, library)


def test_eight_processes_at_once_make_one(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    processes = [_start(path, "mlflow", "anew" if number % 2 else "copied") for number in range(8)]
    for process in processes:
        _go(process)
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    _assert_whole(path, "mlflow")

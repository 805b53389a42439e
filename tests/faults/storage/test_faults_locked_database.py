"""Locked databases, and runs on full or failing disks."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.bad_disks import full, has_checkpoint, long_pipeline
from faults.disks import intend, small_disk
from faults.invariants import (
    INVARIANTS,
    Aftermath,
    Reference,
    result_equals_that_of_an_undisturbed_run,
)
from faults.projects import FaultWorkspace
from faults.storage.disk_stores import assert_complete, intents

from modelworks.data import versioning
from modelworks.data.dvc_storage import object_cache
from modelworks.errors import Unavailable
from modelworks.files.atomic_files import disk_errors
from modelworks.files.digest import md5_digest
from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is needed to make system calls fail")

INTEND = """
import sys
from pathlib import Path
from modelworks.errors import ModelworksError
from modelworks.project import Project
from modelworks.registry.backend.tracking_store import connect
sys.path.insert(0, sys.argv[2])
from faults.disks import intend

try:
    intend(connect(Project(Path(sys.argv[1]))))
except ModelworksError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


@needs_strace
def test_failed_sync_adds_no_audit_log_entry(store: tuple[Project, MlflowClient], tmp_path: Path) -> None:
    project, client = store
    before = {intend(client)}
    syncs = "fsync,fdatasync"
    result = subprocess.run(
        [
            *("strace", "-f", "--seccomp-bpf", "-qq", "-o", tmp_path / "calls"),
            *("-e", f"trace={syncs}", "-e", f"inject={syncs}:error=EIO"),
            *(sys.executable, "-c", INTEND, project.root, Path(__file__).parents[2]),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "EIO" in (tmp_path / "calls").read_text()
    assert result.returncode == Unavailable.exit_code, result.stderr
    assert "mlflow.db" in result.stdout
    assert "Traceback" not in result.stderr
    assert_complete(project)
    assert intents(client) == before
    before.add(intend(client))
    assert intents(client) == before


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked_by_another_process(project: Project) -> Iterator[Callable[[], None]]:
    """Lock the database in another process; yield a function that releases it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, project.mlflow / "mlflow.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        try:
            yield holder.stdin.close
        finally:
            holder.kill()


def test_locked_database_is_waited_for(store: tuple[Project, MlflowClient]) -> None:
    project, client = store
    with locked_by_another_process(project) as release:
        released = threading.Event()
        timer = threading.Timer(1.0, lambda: (released.set(), release()))  # well below the timeout
        timer.start()
        move = intend(client)
        assert released.is_set(), "the database was not locked"
        timer.join()
    assert intents(client) == {move}


def test_database_locked_too_long_is_reported_and_nothing_is_written(
    store: tuple[Project, MlflowClient], capfd: pytest.CaptureFixture[str]
) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def shorten_timeout(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> object:
        # MLflow's timeout of 20 s is too long for a test.
        return statement.replace("busy_timeout = 20000", "busy_timeout = 100"), parameters

    project, client = store
    event.listen(Engine, "before_cursor_execute", shorten_timeout, retval=True)
    try:
        with locked_by_another_process(project), pytest.raises(Unavailable, match=r"mlflow\.db") as caught:
            intend(client)
    finally:
        event.remove(Engine, "before_cursor_execute", shorten_timeout)
    assert "released the database" in caught.value.hint
    assert capfd.readouterr().err == "", "MLflow must not print a traceback"
    move = intend(client)
    assert intents(client) == {move}
    assert_complete(project)


def test_failing_disk_is_not_reported_as_full(
    store: tuple[Project, MlflowClient], capfd: pytest.CaptureFixture[str]
) -> None:
    project, client = store
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, largest[1]))  # SQLite's writes fail, but not with ENOSPC
    try:
        with pytest.raises(Unavailable, match=r"mlflow\.db.*disk I/O error") as caught:
            intend(client)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, largest)
    assert "disk errors" in caught.value.hint
    move = intend(client)
    assert intents(client) == {move}
    assert_complete(project)


@pytest.fixture
def pinnable(tmp_path: Path) -> Project:
    """A project with data that are not pinned yet."""
    project = Project(tmp_path / "project")
    (project.data / "some").mkdir(parents=True)
    for number in range(4):
        (project.data / "some" / f"{number}.bin").write_bytes(bytes([number]) * 300_000)
    return project


@pytest.mark.parametrize(("place", "files"), [(".dvc", 0), (".dvc", 14), (".modelworks", 0), (".modelworks", 9)])
def test_full_disk_while_pinning_data_is_reported_and_recovered(pinnable: Project, place: str, files: int) -> None:
    """`.dvc` has DVC's cache, `.modelworks` its remote. `files` is the free inodes, or 0."""
    with small_disk(pinnable.root / place, megabytes=2, files=60) as disk:
        pinnable.make_private_folders()
        disk.fill("files" if files else "bytes")
        disk.free(files or 900_000)
        message = r"no (inodes|space) left while writing .*/project/\.|could not write all of .*/data into "
        with pytest.raises(Unavailable, match=message) as caught, disk_errors(pinnable.data):
            versioning.record(pinnable)
        assert "run again" in caught.value.hint
        for folder in (object_cache.cache(pinnable), pinnable.state / "dvc-remote" / "files" / "md5"):
            for path in folder.glob("??/*"):
                if not path.name.startswith("."):
                    assert md5_digest(path) == f"{path.parent.name}{path.name}".removesuffix(".dir"), path
        disk.free_all()
        versioning.record(pinnable)
        digest = object_cache.listing_digest(object_cache.subtree(pinnable.data))
        assert object_cache.complete(object_cache.cache(pinnable), digest)
        assert object_cache.complete(pinnable.state / "dvc-remote" / "files" / "md5", digest)


@pytest.mark.slow
def test_run_on_a_full_disk_fails_and_the_next_one_resumes(tmp_path: Path, server_url: str) -> None:
    pipeline = long_pipeline()
    workspace = FaultWorkspace(
        tmp_path, replace(pipeline, changes={**pipeline.changes, "train.epochs": "6"}), server_url
    )
    workspace.clear()
    with ExitStack() as stack:
        disturbed = full(lambda project: project.state, has_checkpoint)(workspace, stack)
        after = workspace.run()
        # `faults.bad_disks` compares with an undisturbed run.
        checked = [each for each in INVARIANTS if each is not result_equals_that_of_an_undisturbed_run]
        found = Aftermath(workspace, [disturbed, after], Reference("", {}))
        assert [violation for invariant in checked for violation in invariant(found)] == []
    assert disturbed.code == Unavailable.exit_code
    assert re.match(r"error: no space left while writing .*/project/\.modelworks/", disturbed.complaint[0])
    assert after.object["stages"]["train"] == "resumed"

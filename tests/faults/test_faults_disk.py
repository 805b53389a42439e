"""Full and failing disks and locked databases leave no incomplete results.

The disks are small mounts, and strace makes SQLite's system calls fail; without them the tests are skipped. `python -m
faults.bad_disks` runs complete pipelines on such disks and checks all invariants.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from faults.bad_disks import full, has_checkpoint, long_pipeline
from faults.disks import MODEL, SmallDisk, intend, small_disk
from faults.invariants import (
    INVARIANTS,
    Aftermath,
    Reference,
    mlflow_head,
    result_equals_that_of_an_undisturbed_run,
)
from faults.projects import FaultWorkspace
from torch import nn

from modelworks.data import versioning
from modelworks.data.dvc_storage import object_cache
from modelworks.errors import Unavailable
from modelworks.files.atomic_files import disk_errors
from modelworks.files.digest import md5_digest
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project
from modelworks.registry.production import audit_log
from modelworks.training.checkpoint import Checkpoints

if TYPE_CHECKING:
    from mlflow import MlflowClient

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is needed to make system calls fail")


def checkpoint(folder: Path, step: int) -> dict[str, nn.Module]:
    """Save weights that all equal the step number."""
    parts: dict[str, nn.Module] = {"model": nn.Linear(200, 200)}
    for each in parts["model"].parameters():
        nn.init.constant_(each, step)
    Checkpoints(folder, "key").save(step, parts)
    return parts


def newest(folder: Path) -> tuple[int, float]:
    """Return step and weights of the checkpoint that a training would resume from."""
    parts: dict[str, nn.Module] = {"model": nn.Linear(200, 200)}
    step = Checkpoints(folder, "key").restore(parts)
    (value,) = torch.cat([each.detach().flatten() for each in parts["model"].parameters()]).unique().tolist()
    return step, value


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        ("bytes", "disk.full", r"/checkpoints/step-3, which needs 0\.2 MB"),
        ("files", "disk.no-inodes", r"/checkpoints/\.step-3-"),
    ],
)
def test_full_disk_keeps_the_earlier_checkpoints(tmp_path: Path, what: str, code: str, message: str) -> None:
    with small_disk(tmp_path / "work") as disk:
        folder = disk.folder / "checkpoints"
        for step in (1, 2):
            checkpoint(folder, step)
        disk.fill(what)
        with pytest.raises(Unavailable, match=message) as caught:
            checkpoint(folder, 3)
        assert caught.value.code == code
        assert sorted(path.name for path in folder.iterdir()) == ["step-1", "step-2"]
        assert newest(folder) == (2, 2.0)
        disk.free_all()
        checkpoint(folder, 3)
        assert newest(folder) == (3, 3.0)


class BadDisk:
    """Replacement of `os.fsync` in which one call fails with EIO."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails_at, self.calls, self.fsync = 0, 0, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.fsync(descriptor)


def test_failed_sync_fails_the_stage_without_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, store = BadDisk(monkeypatch), StageStore(tmp_path)

    def write(key: str) -> None:
        with store.write("train", key, {}) as temporary:
            (temporary / "file").write_text("content")

    write("undisturbed")
    needed = disk.calls
    for number in range(1, needed + 1):
        disk.calls, disk.fails_at = 0, number
        with pytest.raises(Unavailable) as caught:
            write(f"{number}")
        assert caught.value.code == "disk.failed"
        assert disk.calls == number, "a failed sync must not be repeated: a later success proves nothing"
        # The last sync is that of the parent folder: all files are on the disk by then.
        assert store.state("train", f"{number}") == ("intact" if number == needed else "absent")
        assert not store.leftovers()
        disk.fails_at = 0
        write(f"{number}")
        assert store.state("train", f"{number}") == "intact"
    assert needed > 3
    assert not list((tmp_path / "train").glob(".*"))


def test_checkpoint_with_a_failed_sync_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, folder = BadDisk(monkeypatch), tmp_path / "checkpoints"
    checkpoint(folder, 1)
    for number in range(1, disk.calls):
        disk.calls, disk.fails_at = 0, number
        with pytest.raises(Unavailable, match="step-2") as caught:
            checkpoint(folder, 2)
        assert caught.value.code == "disk.failed"
        assert newest(folder) == (1, 1.0)
    disk.fails_at = 0
    checkpoint(folder, 2)
    assert newest(folder) == (2, 2.0)


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[tuple[Project, MlflowClient, SmallDisk]]:
    """A project whose tracking store is on a small disk."""
    from modelworks.registry.backend.tracking_store import connect

    project = Project(tmp_path / "project")
    with small_disk(project.mlflow, megabytes=4) as disk:
        yield project, connect(project), disk


@pytest.fixture
def store(made: Project) -> tuple[Project, MlflowClient]:
    from modelworks.registry.backend.tracking_store import connect

    return made, connect(made)


def assert_complete(project: Project) -> None:
    with closing(sqlite3.connect(project.mlflow / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(mlflow_head(),)]


def intents(client: MlflowClient) -> set[str]:
    return {move.id for move in audit_log.history(client, MODEL)}


def test_audit_log_on_a_full_disk_has_exactly_the_reported_moves(
    small_store: tuple[Project, MlflowClient, SmallDisk], capfd: pytest.CaptureFixture[str]
) -> None:
    project, client, disk = small_store
    reported = {intend(client)}
    disk.fill()
    with pytest.raises(Unavailable, match=r"mlflow\.db") as caught:
        reported.update(intend(client) for _ in range(200))  # until the free pages of the file are used
    assert "free some disk space" in caught.value.hint
    assert capfd.readouterr().err == "", "MLflow must not print a traceback"
    assert_complete(project)
    assert intents(client) == reported
    disk.free_all()
    reported.add(intend(client))
    assert intents(client) == reported
    assert_complete(project)


def test_message_of_the_database_is_reported(small_store: tuple[Project, MlflowClient, SmallDisk]) -> None:
    _, client, disk = small_store
    intend(client)
    disk.fill()
    with pytest.raises(Unavailable, match="database or disk is full") as caught:
        list(map(intend, [client] * 200))
    assert caught.value.code == "mlflow.unavailable"


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
            *(sys.executable, "-c", INTEND, project.root, Path(__file__).parents[1]),
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

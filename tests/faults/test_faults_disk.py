"""The disk is full, has no inodes left, fails, or its database is locked: what stood stays, what is half is no whole.

The disks are real and small, SQLite's failing syscalls are strace's. Both are left out, with the reason, where they
cannot be had. `python -m faults.bad_disks` puts whole runs on such disks and checks all invariants.
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
    the_result_is_that_of_an_undisturbed_run,
)
from faults.projects import Ground
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

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the system's calls fail")


def checkpoint(folder: Path, step: int) -> dict[str, nn.Module]:
    """Save weights that are all the number of their step."""
    parts: dict[str, nn.Module] = {"model": nn.Linear(200, 200)}
    for each in parts["model"].parameters():
        nn.init.constant_(each, step)
    Checkpoints(folder, "key").save(step, parts)
    return parts


def newest(folder: Path) -> tuple[int, float]:
    """The step that a training would go on from, and the weights it would have."""
    parts: dict[str, nn.Module] = {"model": nn.Linear(200, 200)}
    step = Checkpoints(folder, "key").restore(parts)
    (value,) = torch.cat([each.detach().flatten() for each in parts["model"].parameters()]).unique().tolist()
    return step, value


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("bytes", r"no space left while writing .*/checkpoints/step-3, which needs 0\.2 MB"),
        ("files", r"no inodes left while writing .*/checkpoints/\.step-3-"),
    ],
)
def test_a_checkpoint_that_the_disk_has_no_room_for_leaves_those_before_it(
    tmp_path: Path, what: str, complaint: str
) -> None:
    with small_disk(tmp_path / "work") as disk:
        folder = disk.folder / "checkpoints"
        for step in (1, 2):
            checkpoint(folder, step)
        disk.fill(what)
        with pytest.raises(Unavailable, match=complaint) as caught:
            checkpoint(folder, 3)
        assert "run again" in caught.value.hint
        assert sorted(path.name for path in folder.iterdir()) == ["step-1", "step-2"]
        assert newest(folder) == (2, 2.0)
        disk.make_room()
        checkpoint(folder, 3)
        assert newest(folder) == (3, 3.0)


class BadDisk:
    """`os.fsync`, of which one call fails as on a disk that lost a block."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails_at, self.calls, self.fsync = 0, 0, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.fsync(descriptor)


def test_a_stage_whose_sync_fails_is_not_done_and_no_sync_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, store = BadDisk(monkeypatch), StageStore(tmp_path)

    def write(key: str) -> None:
        with store.write("train", key, {}) as aside:
            (aside / "file").write_text("content")

    write("undisturbed")
    needed = disk.calls
    for number in range(1, needed + 1):
        disk.calls, disk.fails_at = 0, number
        with pytest.raises(Unavailable, match="the disk failed at ") as caught:
            write(f"{number}")
        assert "system's log" in caught.value.hint
        assert disk.calls == number, "after a sync that failed, nothing the disk says of that file can be believed"
        # The last one is for the name alone: all that it names is on the disk by then.
        assert store.state("train", f"{number}") == ("intact" if number == needed else "absent")
        assert not store.leftovers()
        disk.fails_at = 0
        write(f"{number}")
        assert store.state("train", f"{number}") == "intact"
    assert needed > 3
    assert not list((tmp_path / "train").glob(".*"))


def test_a_checkpoint_whose_sync_fails_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, folder = BadDisk(monkeypatch), tmp_path / "checkpoints"
    checkpoint(folder, 1)
    for number in range(1, disk.calls):
        disk.calls, disk.fails_at = 0, number
        with pytest.raises(Unavailable, match=r"the disk failed at .*step-2"):
            checkpoint(folder, 2)
        assert newest(folder) == (1, 1.0)
    disk.fails_at = 0
    checkpoint(folder, 2)
    assert newest(folder) == (2, 2.0)


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[tuple[Project, MlflowClient, SmallDisk]]:
    """A project whose tracking store has a disk of its own."""
    from modelworks.registry.backend.tracking_store import connect

    project = Project(tmp_path / "project")
    with small_disk(project.mlflow, megabytes=4) as disk:
        yield project, connect(project), disk


@pytest.fixture
def lasting_store(made: Project) -> tuple[Project, MlflowClient]:
    from modelworks.registry.backend.tracking_store import connect

    return made, connect(made)


def assert_whole(project: Project) -> None:
    with closing(sqlite3.connect(project.mlflow / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(mlflow_head(),)]


def intents(client: MlflowClient) -> set[str]:
    return {move.id for move in audit_log.history(client, MODEL)}


def test_a_journal_without_room_keeps_every_move_it_reported_and_no_half_of_another(
    small_store: tuple[Project, MlflowClient, SmallDisk], capfd: pytest.CaptureFixture[str]
) -> None:
    project, client, disk = small_store
    reported = {intend(client)}
    disk.fill()
    with pytest.raises(Unavailable, match=r"mlflow\.db") as caught:
        reported.update(intend(client) for _ in range(200))  # the file may have free pages
    assert "free some disk space" in caught.value.hint
    assert capfd.readouterr().err == "", "MLflow prints tracebacks of its own"
    assert_whole(project)
    assert intents(client) == reported
    disk.make_room()
    reported.add(intend(client))
    assert intents(client) == reported
    assert_whole(project)


def test_what_the_database_says_is_said(small_store: tuple[Project, MlflowClient, SmallDisk]) -> None:
    _, client, disk = small_store
    intend(client)
    disk.fill()
    with pytest.raises(Unavailable, match=r"mlflow\.db does not answer: database or disk is full"):
        list(map(intend, [client] * 200))


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
def test_a_journal_whose_sync_fails_has_no_entry_and_goes_on_later(
    lasting_store: tuple[Project, MlflowClient], tmp_path: Path
) -> None:
    project, client = lasting_store
    before = {intend(client)}
    syncs = "fsync,fdatasync"
    done = subprocess.run(
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
    assert done.returncode == Unavailable.exit_code, done.stderr
    assert "mlflow.db" in done.stdout
    assert "Traceback" not in done.stderr
    assert_whole(project)
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
    """Gives what makes that process let go."""
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


def test_a_lock_that_is_released_in_time_is_waited_for(lasting_store: tuple[Project, MlflowClient]) -> None:
    project, client = lasting_store
    with locked_by_another_process(project) as release:
        released = threading.Event()
        timer = threading.Timer(1.0, lambda: (released.set(), release()))  # a tenth of what is waited for
        timer.start()
        move = intend(client)
        assert released.is_set(), "it wrote into a locked database"
        timer.join()
    assert intents(client) == {move}


def test_a_lock_that_is_not_released_is_said_and_what_was_meant_is_written_once_later(
    lasting_store: tuple[Project, MlflowClient], capfd: pytest.CaptureFixture[str]
) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def impatient(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> object:
        # Twenty seconds of patience, which MLflow sets, are right for a person and too long for a test.
        return statement.replace("busy_timeout = 20000", "busy_timeout = 100"), parameters

    project, client = lasting_store
    event.listen(Engine, "before_cursor_execute", impatient, retval=True)
    try:
        with locked_by_another_process(project), pytest.raises(Unavailable, match=r"mlflow\.db") as caught:
            intend(client)
    finally:
        event.remove(Engine, "before_cursor_execute", impatient)
    assert "released the database" in caught.value.hint
    assert capfd.readouterr().err == "", "MLflow prints tracebacks of its own"
    move = intend(client)
    assert intents(client) == {move}
    assert_whole(project)


def test_a_disk_that_fails_is_not_called_full(
    lasting_store: tuple[Project, MlflowClient], capfd: pytest.CaptureFixture[str]
) -> None:
    project, client = lasting_store
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, largest[1]))  # SQLite's writes fail with what is no lack of space
    try:
        with pytest.raises(Unavailable, match=r"mlflow\.db.*disk I/O error") as caught:
            intend(client)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, largest)
    assert "whether the disk fails" in caught.value.hint
    move = intend(client)
    assert intents(client) == {move}
    assert_whole(project)


@pytest.fixture
def pinnable(tmp_path: Path) -> Project:
    """A project with data that no pin knows yet."""
    project = Project(tmp_path / "project")
    (project.data / "some").mkdir(parents=True)
    for number in range(4):
        (project.data / "some" / f"{number}.bin").write_bytes(bytes([number]) * 300_000)
    return project


@pytest.mark.parametrize(("place", "files"), [(".dvc", 0), (".dvc", 14), (".modelworks", 0), (".modelworks", 9)])
def test_data_that_dvc_has_no_room_for_is_said_and_is_whole_when_there_is_room(
    pinnable: Project, place: str, files: int
) -> None:
    """`.dvc` holds DVC's cache, `.modelworks` its remote. There is room for so many files, or 0 for some bytes."""
    with small_disk(pinnable.root / place, megabytes=2, files=60) as disk:
        pinnable.make_private_folders()
        disk.fill("files" if files else "bytes")
        disk.give_back(files or 900_000)
        complaint = r"no (inodes|space) left while writing .*/project/\.|could not write all of .*/data into "
        with pytest.raises(Unavailable, match=complaint) as caught, disk_errors(pinnable.data):
            versioning.record(pinnable)
        assert "run again" in caught.value.hint
        for folder in (object_cache.cache(pinnable), pinnable.state / "dvc-remote" / "files" / "md5"):
            for path in folder.glob("??/*"):
                if not path.name.startswith("."):
                    assert md5_digest(path) == f"{path.parent.name}{path.name}".removesuffix(".dir"), path
        disk.make_room()
        versioning.record(pinnable)
        digest = object_cache.listing_digest(object_cache.subtree(pinnable.data))
        assert object_cache.complete(object_cache.cache(pinnable), digest)
        assert object_cache.complete(pinnable.state / "dvc-remote" / "files" / "md5", digest)


def test_a_run_whose_disk_fills_up_says_so_and_the_next_one_goes_on(tmp_path: Path, server_url: str) -> None:
    pipeline = long_pipeline()
    ground = Ground(tmp_path, replace(pipeline, changes={**pipeline.changes, "train.epochs": "6"}), server_url)
    ground.clear()
    with ExitStack() as stack:
        disturbed = full(lambda project: project.state, has_checkpoint)(ground, stack)
        after = ground.run()
        # What an undisturbed run would have come to is asked by `faults.bad_disks`.
        asked = [each for each in INVARIANTS if each is not the_result_is_that_of_an_undisturbed_run]
        found = Aftermath(ground, [disturbed, after], Reference("", {}))
        assert [violation for invariant in asked for violation in invariant(found)] == []
    assert disturbed.code == Unavailable.exit_code
    assert re.match(r"error: no space left while writing .*/project/\.modelworks/", disturbed.complaint[0])
    assert after.object["stages"]["train"] == "resumed"

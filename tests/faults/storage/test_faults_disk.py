"""Full and failing disks and locked databases leave no incomplete results.

The disks are small mounts, and strace makes SQLite's system calls fail; without them the tests are skipped. `python -m
faults.bad_disks` runs complete pipelines on such disks and checks all invariants.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from faults.disks import SmallDisk, intend, small_disk
from faults.storage.disk_stores import assert_complete, intents
from torch import nn

from modelworks.errors import Unavailable
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project
from modelworks.training.checkpoint import Checkpoints

if TYPE_CHECKING:
    from mlflow import MlflowClient


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

"""Disks that fill up: a small one of memory in the place of a folder, which only root may mount; what is put there."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelworks.registry.production import audit_log
from modelworks.registry.tracking import tags
from modelworks.registry.versions.queries import Registered

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MODEL", "SmallDisk", "intend", "small_disk"]

BALLOON, MODEL = "balloon", "small"


@dataclass(frozen=True)
class SmallDisk:
    """A folder that is a disk of its own."""

    folder: Path

    def fill(self, what: str = "bytes") -> None:
        """Use up its last byte, or its last inode."""
        balloon = self.folder / BALLOON
        balloon.mkdir()
        with _until_full():
            for number in itertools.count():
                (balloon / f"{number}").touch()
                if what == "bytes":
                    break
        if what == "bytes":
            for size in (2**16, 2**8):  # the last page takes the last bytes
                with _until_full(), (balloon / "0").open("ab", buffering=0) as stream:
                    while True:
                        stream.write(bytes(size))

    def give_back(self, size: int) -> None:
        """Give back some of the bytes that `fill` took; some of the files, where it took those."""
        balloon = sorted((self.folder / BALLOON).iterdir())
        if len(balloon) == 1:
            os.truncate(balloon[0], balloon[0].stat().st_size - size)
        else:
            for path in balloon[:size]:
                path.unlink()

    def make_room(self) -> None:
        """Give back what `fill` took."""
        subprocess.run(["rm", "-r", self.folder / BALLOON], check=True)


@contextmanager
def small_disk(folder: Path, *, megabytes: int = 8, files: int = 2000) -> Iterator[SmallDisk]:
    """Mount one at a folder, which is made if there is none; skips the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,nr_inodes={files}"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk is a mount, which needs root on Linux")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def intend(client: MlflowClient) -> str:
    """Write an intent of some size into the journal."""
    chosen = Registered(name=MODEL, version=1, tags={tags.DECISION: "promote"})
    intent = audit_log.Intent(
        kind="promote",
        before=0,
        standing=0,
        who="somebody",
        why="a test",
        overridden=False,
        evidence={"words": ["word" * 500]},
    )
    return audit_log.intend(client, chosen, intent, "none")


@contextmanager
def _until_full() -> Iterator[None]:
    with suppress(OSError):
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise AssertionError(f"the disk is not full, but {error}") from error
            raise

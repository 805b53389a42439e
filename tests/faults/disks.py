"""Small disks that fill up: a tmpfs mounted at a folder, which needs root."""

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

FILLER, MODEL = "filler", "small"


@dataclass(frozen=True)
class SmallDisk:
    """A folder with its own file system."""

    folder: Path

    def fill(self, what: str = "bytes") -> None:
        """Use all bytes, or all inodes."""
        filler = self.folder / FILLER
        filler.mkdir()
        with _until_full():
            for number in itertools.count():
                (filler / f"{number}").touch()
                if what == "bytes":
                    break
        if what == "bytes":
            for size in (2**16, 2**8):  # the small size fills the last page
                with _until_full(), (filler / "0").open("ab", buffering=0) as stream:
                    while True:
                        stream.write(bytes(size))

    def free(self, size: int) -> None:
        """Free some of the bytes, or of the files, that `fill` used."""
        filler = sorted((self.folder / FILLER).iterdir())
        if len(filler) == 1:
            os.truncate(filler[0], filler[0].stat().st_size - size)
        else:
            for path in filler[:size]:
                path.unlink()

    def free_all(self) -> None:
        """Free everything that `fill` used."""
        subprocess.run(["rm", "-r", self.folder / FILLER], check=True)


@contextmanager
def small_disk(folder: Path, *, megabytes: int = 8, files: int = 2000) -> Iterator[SmallDisk]:
    """Mount a tmpfs at a folder, created if missing; skip the test if that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,nr_inodes={files}"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root on Linux")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def intend(client: MlflowClient) -> str:
    """Write an intent of some size into the audit log."""
    chosen = Registered(name=MODEL, version=1, tags={tags.DECISION: "promote"})
    intent = audit_log.Intent(
        kind="promote",
        before=0,
        expected=0,
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

"""Digests of files, computed again only when a file's size, times or inode have changed, as git and DVC do.

The memo is a file of JSON lines that processes append to: whatever is lost or damaged in it is computed again. It saves
time and proves nothing: who must be sure that the bytes are right reads them (`modelworks doctor --deep`).
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.files.digest import file_digest, md5_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DigestMemo", "Snapshot", "snapshot"]

NAME = ".digests.jsonl"
DOUBTFUL_NS = 20_000_000
"""A file that changed less than this long ago may change again within the clock's tick, without a trace."""
LARGEST = 2**20
"""Bytes of the memo above which it is written anew, without what is out of date."""

Snapshot = tuple[int, int, int, int]

_COMPUTE = {"sha256": file_digest, "md5": md5_digest}


class DigestMemo:
    """The digests of files, kept in one file of a folder."""

    def __init__(self, folder: Path, *, keep: bool = True) -> None:
        """
        Args:
            folder: where the memo lies; it need not exist, and then nothing is kept.
            keep: whether to write down what is found.
        """
        self._path, self._keep = folder / NAME, keep

    def digest(self, path: Path, algorithm: str = "sha256") -> str:
        """A file's digest in hex: `sha256` or `md5`."""
        before = snapshot(path)
        known = self._known.get((algorithm, str(path)))
        if known is not None and known[0] == before:
            return known[1]
        found = _COMPUTE[algorithm](path)
        if snapshot(path) == before:
            self.remember({path: (before, found)}, algorithm)
        return found

    def remember(self, found: Mapping[Path, tuple[Snapshot, str]], algorithm: str = "sha256") -> None:
        """Keep digests of files, each with what `snapshot` said when they were computed."""
        latest = time.time_ns() - DOUBTFUL_NS
        new = {(algorithm, str(path)): entry for path, entry in found.items() if entry[0][1] < latest}
        self._known.update(new)
        if not self._keep:
            return
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_size > LARGEST:
                self._write_anew()
            elif self._path.parent.is_dir():
                lines = "".join(_line(name, entry) for name, entry in new.items())
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(descriptor, lines.encode())  # in one piece: other processes append as well
                finally:
                    os.close(descriptor)

    def forget(self) -> None:
        """Drop all that is known: every file is read again."""
        self._path.unlink(missing_ok=True)
        self.__dict__.pop("_known", None)

    @cached_property
    def _known(self) -> dict[tuple[str, str], tuple[Snapshot, str]]:
        known: dict[tuple[str, str], tuple[Snapshot, str]] = {}
        with suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, TypeError):  # of a process that was killed, or that found the disk full
                    algorithm, path, digest, *parts = json.loads(line)
                    size, modified, changed, inode = map(int, parts)
                    known[algorithm, path] = (size, modified, changed, inode), str(digest)
        return known

    def _write_anew(self) -> None:
        """Drop the entries of files that are gone, and earlier ones of the same file."""
        lines = [_line(name, entry) for name, entry in self._known.items() if Path(name[1]).exists()]
        started = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        started.write_text("".join(lines))
        started.replace(self._path)


def snapshot(path: Path) -> Snapshot:
    """What changes with a file's content: size, times of modification and of change in ns, inode."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _line(name: tuple[str, str], entry: tuple[Snapshot, str]) -> str:
    return json.dumps([*name, entry[1], *entry[0]]) + "\n"

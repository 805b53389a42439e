"""Cache digests of files until their size, times or inode change, as git and DVC do.

The memo is a JSON lines file that processes append to. A lost or damaged line is computed again. The memo does not
prove that the bytes are intact; `modelworks doctor --deep` reads them.
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
"""Files changed more recently are not cached: a second change may get the same timestamp."""
LARGEST = 2**20
"""Size in bytes above which the memo is rewritten without outdated entries."""

Snapshot = tuple[int, int, int, int]

_COMPUTE = {"sha256": file_digest, "md5": md5_digest}


class DigestMemo:
    """Digests of files, stored in one file of a folder."""

    def __init__(self, folder: Path, *, keep: bool = True) -> None:
        """
        Args:
            folder: has the memo; if it does not exist, nothing is stored.
            keep: whether to store new digests.
        """
        self._path, self._keep = folder / NAME, keep

    def digest(self, path: Path, algorithm: str = "sha256") -> str:
        """Return a file's `sha256` or `md5` in hex."""
        before = snapshot(path)
        known = self._known.get((algorithm, str(path)))
        if known is not None and known[0] == before:
            return known[1]
        found = _COMPUTE[algorithm](path)
        if snapshot(path) == before:
            self.remember({path: (before, found)}, algorithm)
        return found

    def remember(self, found: Mapping[Path, tuple[Snapshot, str]], algorithm: str = "sha256") -> None:
        """Store digests of files, each with the `snapshot` from before it was computed."""
        latest = time.time_ns() - DOUBTFUL_NS
        new = {(algorithm, str(path)): entry for path, entry in found.items() if entry[0][1] < latest}
        self._known.update(new)
        if not self._keep:
            return
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_size > LARGEST:
                self._rewrite()
            elif self._path.parent.is_dir():
                lines = "".join(_line(name, entry) for name, entry in new.items())
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(descriptor, lines.encode())  # one write: other processes append too
                finally:
                    os.close(descriptor)

    def forget(self) -> None:
        """Delete the memo, so that every file is read again."""
        self._path.unlink(missing_ok=True)
        self.__dict__.pop("_known", None)

    @cached_property
    def _known(self) -> dict[tuple[str, str], tuple[Snapshot, str]]:
        known: dict[tuple[str, str], tuple[Snapshot, str]] = {}
        with suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, TypeError):  # cut off by a kill or a full disk
                    algorithm, path, digest, *parts = json.loads(line)
                    size, modified, changed, inode = map(int, parts)
                    known[algorithm, path] = (size, modified, changed, inode), str(digest)
        return known

    def _rewrite(self) -> None:
        """Rewrite the memo without entries of deleted files and duplicates."""
        lines = [_line(name, entry) for name, entry in self._known.items() if Path(name[1]).exists()]
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        temporary.write_text("".join(lines))
        temporary.replace(self._path)


def snapshot(path: Path) -> Snapshot:
    """Return size, mtime and ctime in ns, and inode of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _line(name: tuple[str, str], entry: tuple[Snapshot, str]) -> str:
    return json.dumps([*name, entry[1], *entry[0]]) + "\n"

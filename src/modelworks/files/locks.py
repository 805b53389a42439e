"""Locks between processes. Whoever dies holding one, loses it.

`locked` is for what lies on this machine. Who moves production or registers a version takes a `Lock`, because a
tracking store may be shared by machines that have nothing else in common: `MachineLock` is one of several kinds.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelworks.errors import Unavailable
from modelworks.files.atomic_files import disk_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["WAY_OUT", "Lock", "MachineLock", "locked"]

PATIENCE = 120.0
"""Seconds to wait for another holder."""
WAY_OUT = "wait until it is done, or stop it, and run again"


class Lock(Protocol):
    """One holder of a name at a time, among all who take this lock."""

    @property
    def kind(self) -> str:
        """What it is and whom it keeps out, for people."""

    def hold(self, name: str, purpose: str) -> AbstractContextManager[None]:
        """Be alone under a name, as long as the block lasts.

        Raises:
            Unavailable: another holder does not end, or what keeps the lock does not answer.
        """


@dataclass(frozen=True)
class MachineLock:
    """A file per name, locked by the kernel (`flock`), which frees it when its holder dies."""

    folder: Path
    kind: str = "flock, among the processes of this machine"
    seconds: float = PATIENCE

    def hold(self, name: str, purpose: str) -> AbstractContextManager[None]:
        return locked(self.folder / f"{name}.lock", purpose, self.seconds)


@contextmanager
def locked(
    path: Path, purpose: str, seconds: float = PATIENCE, waiting: Callable[[str], None] = lambda said: None
) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for another holder.

    Args:
        path: of the file; it stays.
        purpose: what its holder does, in words.
        seconds: to wait at most; negative for as long as it takes.
        waiting: told who has it, if there is somebody to wait for.

    Raises:
        Unavailable: it was not released in time; says who has it since when.
    """
    from filelock import FileLock, Timeout

    # Beside the lock, not in it: filelock empties its file before it has the lock.
    holder = path.with_name(f"{path.name}.holder")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        with suppress(Timeout):
            lock.acquire(timeout=0)
        try:
            if not lock.is_locked:
                waiting(f"another process is {purpose} already: {_read(holder)}")
                lock.acquire(timeout=seconds, poll_interval=0.01)
        except Timeout:
            raise Unavailable(
                f"another process is {purpose} already: {_read(holder)}", WAY_OUT, code="lock.held"
            ) from None
    try:
        with disk_errors(holder):
            holder.write_text(
                f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read(holder: Path) -> str:
    try:
        return holder.read_text() or "another process"
    except OSError:  # it has the lock, but has not said so yet
        return "another process"

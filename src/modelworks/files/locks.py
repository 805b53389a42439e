"""Locks between processes, released when the holder dies.

`locked` is for resources of this machine. Promotion and registration use a `Lock`, because several machines may share a
tracking store: `MachineLock` is one implementation.
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

__all__ = ["LOCK_HELD_HINT", "Lock", "MachineLock", "locked"]

PATIENCE = 120.0
"""Default timeout in seconds."""
LOCK_HELD_HINT = "wait until it is done, or stop it, and run again"


class Lock(Protocol):
    """A mutual exclusion lock by name."""

    @property
    def kind(self) -> str:
        """What the lock is and which processes it excludes, for people."""

    def hold(self, name: str, purpose: str) -> AbstractContextManager[None]:
        """Hold the lock of a name for the block.

        Raises:
            Unavailable: the lock was not released in time, or its service does not answer.
        """


@dataclass(frozen=True)
class MachineLock:
    """A file per name, locked with `flock`, which the kernel releases when the holder dies."""

    folder: Path
    kind: str = "flock, among the processes of this machine"
    seconds: float = PATIENCE

    def hold(self, name: str, purpose: str) -> AbstractContextManager[None]:
        return locked(self.folder / f"{name}.lock", purpose, self.seconds)


@contextmanager
def locked(
    path: Path, purpose: str, seconds: float = PATIENCE, waiting: Callable[[str], None] = lambda message: None
) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for another holder.

    Args:
        path: of the lock file; it is not deleted.
        purpose: what the holder does, for messages.
        seconds: timeout; negative for none.
        waiting: called with a message if another process holds the lock.

    Raises:
        Unavailable: the lock was not released in time; the message names the holder.
    """
    from filelock import FileLock, Timeout

    # Not in the lock file: filelock truncates it before it has the lock.
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
                f"another process is {purpose} already: {_read(holder)}", LOCK_HELD_HINT, code="lock.held"
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
    except OSError:  # the holder has not written the file yet
        return "another process"

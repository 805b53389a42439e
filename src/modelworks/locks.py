"""Locks between the processes of one machine; the kernel frees them when their holder dies."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelworks.errors import Unavailable
from modelworks.store import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked"]


@contextmanager
def locked(path: Path, purpose: str, seconds: float = 120.0) -> Iterator[None]:
    """Hold the lock file at `path`, waiting up to `seconds` for another holder.

    Raises:
        Unavailable: it was not released in time.
    """
    from filelock import FileLock, Timeout

    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=seconds)
        try:
            lock.acquire()
        except Timeout:
            raise Unavailable(
                f"{purpose}: another process has held {path} for {seconds:.0f} s",
                "wait until it is done, or stop it, and run again",
            ) from None
    try:
        yield
    finally:
        lock.release()

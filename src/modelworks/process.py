"""Process helpers: number of cores, exit with the parent, garbage collection during imports."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cores", "die_with_parent", "rare_garbage_collection"]

_PR_SET_PDEATHSIG = 1


def cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies. Linux only; elsewhere it does nothing."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Reduce garbage collection in the block, which imports libraries.

    Imports create millions of objects that live as long as the process. Collecting while they are created, and once
    more at exit, takes a third of the import time.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.freeze()  # imported objects are never garbage: later collections skip them
        gc.set_threshold(*thresholds)

"""Processes of this machine: number of cores, children that end with their parent, cheaper imports."""

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
    """Ask the kernel to send SIGTERM when the parent dies; only Linux does, elsewhere nothing is asked."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Collect garbage rarely inside the block, which imports libraries, and restore the thresholds after it.

    Imports create millions of objects that live as long as the process. To search them for garbage while they are
    created, and once more when the process ends, takes a third of the import time.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.freeze()  # what was imported is never garbage: later collections pass over it
        gc.set_threshold(*thresholds)

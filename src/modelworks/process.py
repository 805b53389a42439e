"""Processes of this machine: their cores, children that do not outlive their parent, a start that wastes no time."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import signal
import sys

__all__ = ["cores", "die_with_parent", "spare_imported_garbage"]

_PR_SET_PDEATHSIG = 1


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent dies (Linux; elsewhere the child ends with its terminal)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)


def spare_imported_garbage() -> None:
    """Look for garbage seldom. To be called first of all in a process.

    Libraries make millions of objects that live as long as the process: looking for garbage among them while they are
    imported, and once more at the end, takes a third of their import time.
    """
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)

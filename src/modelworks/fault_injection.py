"""Named fault points where a test kills the process, to check that the next run recovers.

Every external side effect has one before it and one after it. `points` lists them from the source, and a trace file
lists those that a run passes, so `make kill-sweep` covers all of them.
"""

from __future__ import annotations

import ast
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TRACE", "VARIABLE", "effect", "fault_point", "points"]

VARIABLE = "MODELWORKS_FAULT"
"""Environment variable with the fault point to die at. Only tests set it."""
TRACE = "MODELWORKS_FAULT_TRACE"
"""Environment variable with the file to which passed fault points are appended. Only tests set it."""


def fault_point(name: str, detail: str = "") -> None:
    """Kill this process with SIGKILL if this is the fault point in `MODELWORKS_FAULT`.

    Args:
        name: a string literal, because `points` reads it from the source.
        detail: distinguishes several callers; the fault point is then called `name[detail]`.
    """
    place = f"{name}[{detail}]" if detail else name
    if trace := os.environ.get(TRACE):
        descriptor = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{place}\n".encode())  # one write: other processes append too
        os.close(descriptor)
    if os.environ.get(VARIABLE) == place:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def effect(name: str, detail: str = "") -> Iterator[None]:
    """Mark an external side effect: `x.y` has the fault points `x.before_y` and `x.after_y`.

    Args:
        name: a string literal, because `points` reads it from the source.
        detail: as for `fault_point`.
    """
    before, after = _before_and_after(name)
    fault_point(before, detail)
    yield
    fault_point(after, detail)


def points(folders: Iterable[Path]) -> tuple[str, ...]:
    """Return the names of all fault points in some source folders, in file and line order."""
    return tuple(
        place
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("effect", "fault_point")
        and isinstance(node.args[0], ast.Constant)
        for place in _names(node.func.id, str(node.args[0].value))
    )


def _names(function: str, name: str) -> tuple[str, ...]:
    return _before_and_after(name) if function == "effect" else (name,)


def _before_and_after(name: str) -> tuple[str, str]:
    owner, _, what = name.partition(".")
    return f"{owner}.before_{what}", f"{owner}.after_{what}"

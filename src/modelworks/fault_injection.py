"""Named places where a test kills the process, to show that the next run mends what that leaves.

Every outside effect has one before and one after it. `points` finds them in the source and a trace tells which of them
a run comes by, so the sweep over all of them (`make kill-sweep`) can forget none.
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
"""The environment variable that names the place to die at. Nothing but tests sets it."""
TRACE = "MODELWORKS_FAULT_TRACE"
"""The environment variable that names a file for the places as they are passed. Likewise."""


def fault_point(name: str, detail: str = "") -> None:
    """Die here, as by kill -9, if this is the place that was named.

    Args:
        name: of the place, written out: it is read from the source.
        detail: tells apart what passes here for several reasons; the place is then called `name[detail]`.
    """
    place = f"{name}[{detail}]" if detail else name
    if trace := os.environ.get(TRACE):
        descriptor = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{place}\n".encode())  # in one piece: other processes write there as well
        os.close(descriptor)
    if os.environ.get(VARIABLE) == place:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def effect(name: str, detail: str = "") -> Iterator[None]:
    """Mark a block with an outside effect: `x.y` has the places `x.before_y` and, if it ends well, `x.after_y`.

    Args:
        name: of the effect, written out: it is read from the source.
        detail: as for `fault_point`.
    """
    before, after = _around(name)
    fault_point(before, detail)
    yield
    fault_point(after, detail)


def points(folders: Iterable[Path]) -> tuple[str, ...]:
    """Return the names of all places below some folders of source, in the order of files and lines."""
    return tuple(
        place
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("effect", "fault_point")
        and isinstance(node.args[0], ast.Constant)
        for place in _named(node.func.id, str(node.args[0].value))
    )


def _named(function: str, name: str) -> tuple[str, ...]:
    return _around(name) if function == "effect" else (name,)


def _around(name: str) -> tuple[str, str]:
    owner, _, what = name.partition(".")
    return f"{owner}.before_{what}", f"{owner}.after_{what}"

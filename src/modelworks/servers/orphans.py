"""Servers that outlived the process they were started for: a kill -9 in the wrong place leaves such.

Every server of ours is started with the name of its parent in its environment, which whatever it starts inherits. So
none is taken for ours by its command's name alone, and none of another project is.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from modelworks.registry.tracking.process_identity import Owner

if TYPE_CHECKING:
    import psutil

    from modelworks.project import Project

__all__ = ["end", "find", "mark"]

PARENT = "MODELWORKS_PARENT"
"""The environment variable with the parent, as JSON."""
TERM_SECONDS = 10.0


def mark() -> dict[str, str]:
    """What to add to the environment of a server that must not outlive this process."""
    return {PARENT: json.dumps(Owner.this().written())}


def find(project: Project) -> list[psutil.Process]:
    """The processes of this project's servers whose parent is dead."""
    import psutil

    own = psutil.Process()
    spared = {own.pid, *(each.pid for each in own.parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ended meanwhile, or is another user's
            if process.pid not in spared and _is_orphan(process.environ(), project):
                found.append(process)
    return found


def end(processes: list[psutil.Process]) -> None:
    """Ask them to end; insist after a while, for a stopped process answers nothing."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, TERM_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, TERM_SECONDS)


def _is_orphan(environment: dict[str, str], project: Project) -> bool:
    if PARENT not in environment or os.path.realpath(environment.get("MODELWORKS_PROJECT", "")) != os.path.realpath(
        project.root
    ):
        return False
    parent = Owner.read(json.loads(environment[PARENT]))
    return parent is not None and parent.is_dead

"""A command that ends, with all it started, when its parent does: `python -m modelworks.servers.child_process PARENT COMMAND...`.

Servers start workers of their own; a plain kill of the server would leave those behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

from modelworks.process import die_with_parent
from modelworks.servers.orphans import mark

__all__ = ["start"]

GRACE_SECONDS = 8.0


def start(command: list[str], *, log: str, environment: dict[str, str], directory: str) -> subprocess.Popen[bytes]:
    """Start a command under this module, in a process group of its own, its output in a file."""
    with open(log, "ab") as stream:  # noqa: PTH123  # the path is a string by then
        return subprocess.Popen(
            [sys.executable, "-m", "modelworks.servers.child_process", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**environment, **mark()},
            cwd=directory,
            start_new_session=True,
        )


def main() -> None:
    """Run the command; on SIGTERM end the whole group."""
    command = subprocess.Popen(sys.argv[2:])

    def end(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            command.wait(GRACE_SECONDS)
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    die_with_parent(int(sys.argv[1]))
    sys.exit(command.wait())


if __name__ == "__main__":
    main()

"""Start, wait for and end child processes.

`python -m modelworks.servers.child_process PARENT COMMAND...` runs a command and ends its whole process group when the
parent ends. Servers start workers, which would outlive a kill of the server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from modelworks.errors import Unavailable
from modelworks.process import die_with_parent

__all__ = ["end", "start", "stop_signals", "wait_until"]

GRACE_SECONDS = 8.0


def start(command: list[str], *, log: str, environment: dict[str, str], directory: str) -> subprocess.Popen[bytes]:
    """Start a command through this module, in its own process group, with its output in a file."""
    with open(log, "ab") as stream:  # noqa: PTH123  # the path is a string
        return subprocess.Popen(
            [sys.executable, "-m", "modelworks.servers.child_process", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )


def wait_until(
    process: subprocess.Popen[bytes],
    answers: Callable[[], bool],
    what: str,
    log: object,
    seconds: float,
    stopping: threading.Event | None = None,
) -> None:
    """Wait until a server answers or `stopping` is set.

    Raises:
        Unavailable: the process ended, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while stopping is None or not stopping.is_set():
        if process.poll() is not None:
            raise Unavailable(f"{what} ended with code {process.returncode}", f"see {log}", code="server.ended")
        if answers():
            return
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} did not answer within {seconds:.0f} s", f"see {log}", code="server.no-answer")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Terminate a process; after some seconds kill it and its process group. Wait for it."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set, for commands that serve."""
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Run the command; on SIGTERM end the process group."""
    wrapper = os.getpid()
    # SIGKILL of this process ends the command too.
    command = subprocess.Popen(sys.argv[2:], preexec_fn=lambda: die_with_parent(wrapper))

    def end_group(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            command.wait(GRACE_SECONDS)
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end_group)
    die_with_parent(int(sys.argv[1]))
    sys.exit(command.wait())


if __name__ == "__main__":
    main()

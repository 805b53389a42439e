"""A PostgreSQL server that is killed and started again, and processes that hold its lock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil

from modelworks.errors import Unavailable
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

HOLD = """
import sys

from modelworks.errors import Unavailable
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

try:
    with AdvisoryLock(sys.argv[1], 60).hold("small", "testing"):
        print("held", flush=True)
        sys.stdin.readline()
    print("released", flush=True)
except Unavailable as error:
    print(f"Unavailable: {error.message}", flush=True)
"""


def holder(address: str) -> subprocess.Popen[str]:
    """Start a process that acquires the lock, and releases it after a line on its stdin."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def output_line(process: subprocess.Popen[str]) -> str:
    """Return the next line of a process's output."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def release(process: subprocess.Popen[str]) -> None:
    """Let a holder release the lock."""
    print(file=process.stdin, flush=True)


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def a_session_waits(address: str) -> bool:
    """Return whether a session of the server waits for a lock, which its process title shows."""
    return any(" ".join(each.cmdline()).rstrip().endswith("waiting") for each in postmaster(address).children())


def postmaster(address: str) -> psutil.Process:
    """Return the server's main process: its command line has the port."""
    option = f"port={urlsplit(address).port}"
    return next(each for each in psutil.process_iter(["cmdline"]) if option in (each.info["cmdline"] or ()))


@dataclass(frozen=True)
class Killed:
    """How a killed server was started."""

    command: list[str]
    folder: str
    user: int
    address: str


def kill(address: str) -> Killed:
    """Kill the main process; the server's other processes then end by themselves."""
    process = postmaster(address)
    others = process.children()
    killed = Killed(process.cmdline(), process.cwd(), process.uids().real, address)
    process.kill()
    process.wait(60)  # until it is reaped, its pid counts as a running server
    _, alive = psutil.wait_procs(others, 60)
    assert not alive
    return killed


@contextmanager
def started_again(killed: Killed) -> Iterator[None]:
    """Start a killed server again; kill it after the block."""
    user: dict[str, Any] = {} if killed.user == os.geteuid() else {"user": killed.user, "group": killed.user}
    with subprocess.Popen(
        killed.command, cwd=killed.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user
    ) as process:
        until(lambda: answers(killed.address))
        yield
        process.kill()


def answers(address: str) -> bool:
    """Return whether the server grants a lock."""
    try:
        with AdvisoryLock(address, 5).hold("another", "testing"):
            return True
    except Unavailable:
        return False

"""Identify the process that owns a record in the tracking store, and whether it is alive."""

from __future__ import annotations

import hmac
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Owner"]

CLOCK_STEP = 2.0
"""Seconds by which a start time may differ: it is computed from the boot time, which moves when the clock is set."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, identified so that a reused pid or a reboot cannot be mistaken for it."""

    host: str
    pid: int
    started: float
    """Unix seconds."""
    boot: str
    """The kernel's boot id; the boot time on other systems than Linux."""
    machine: str = ""
    """Distinguishes machines of the same name; empty if unknown, and in records of earlier releases."""
    namespace: str = ""
    """The pid namespace: a container has its own. Empty if unknown."""

    @classmethod
    def this(cls) -> Owner:
        """Return the running process."""
        import psutil

        process = psutil.Process()
        return cls(
            host=socket.gethostname(),
            pid=process.pid,
            started=process.create_time(),
            boot=_boot(),
            machine=_machine(),
            namespace=_namespace(),
        )

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Owner | None:
        """Return the owner from the strings of `written`; None if they are incomplete."""
        try:
            return cls(
                host=values["host"],
                pid=int(values["pid"]),
                started=float(values["started"]),
                boot=values["boot"],
                machine=values.get("machine", ""),
                namespace=values.get("namespace", ""),
            )
        except (KeyError, ValueError):
            return None

    def written(self) -> dict[str, str]:
        """Return the fields as strings, for tags."""
        known = {"machine": self.machine, "namespace": self.namespace}
        return {
            "host": self.host,
            "pid": str(self.pid),
            "started": f"{self.started:.2f}",
            "boot": self.boot,
            **{name: value for name, value in known.items() if value},
        }

    @property
    def is_here(self) -> bool:
        """Whether this process can tell if the owner is alive.

        It can on the same machine, if the container is the same or the boot is an earlier one.
        """
        if self.host != socket.gethostname() or self.machine not in ("", _machine()):
            return False
        return self.boot != _boot() or self.namespace in ("", _namespace())

    @property
    def is_dead(self) -> bool:
        """Whether it certainly does not run any more. A zombie counts as dead."""
        import psutil

        if not self.is_here:
            return False
        if self.boot != _boot():
            return True
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.started) > CLOCK_STEP
        except psutil.NoSuchProcess:
            return True


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        import psutil

        return f"{psutil.boot_time():.0f}"


def _machine() -> str:
    """Return a digest of the machine id, which is confidential (man 5 machine-id)."""
    try:
        known = Path("/etc/machine-id").read_bytes().strip()
    except OSError:  # not Linux, or a container without one
        return ""
    return hmac.digest(known, b"modelworks", "sha256").hex()[:16] if known else ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        return ""

"""Which process owns a record in the tracking store, and whether it still lives."""

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
    """A process, named so that neither a reused number nor a reboot can confuse it with another."""

    host: str
    pid: int
    started: float
    """Unix seconds."""
    boot: str
    """The kernel's id of this boot; the boot time where it has none."""
    machine: str = ""
    """What tells machines of the same name apart; empty where nothing does, and in records of earlier versions."""
    namespace: str = ""
    """In which the number counts: a container has its own. Empty likewise."""

    @classmethod
    def this(cls) -> Owner:
        """The running process."""
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
        """The owner that `written` wrote; None when the values are not such."""
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
        """As strings, for tags."""
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
        """Whether it is or was a process that this one could see; of others nothing can be said.

        Those of another container cannot be seen while the machine runs; of an earlier boot none is left anywhere.
        """
        if self.host != socket.gethostname() or self.machine not in ("", _machine()):
            return False
        return self.boot != _boot() or self.namespace in ("", _namespace())

    @property
    def is_dead(self) -> bool:
        """Whether it certainly runs no more. A zombie counts as dead: it will never work again."""
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
    """A digest of the machine's id: the id itself is to be shown to nobody (man 5 machine-id)."""
    try:
        known = Path("/etc/machine-id").read_bytes().strip()
    except OSError:  # not Linux, or a container that was given none
        return ""
    return hmac.digest(known, b"modelworks", "sha256").hex()[:16] if known else ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        return ""

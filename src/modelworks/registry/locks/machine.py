"""Where the processes meet that use the same tracking store: on this machine, and for a server those of one user."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelworks.locks import MachineLock
from modelworks.registry.backend.postgres_connection import LOOPBACK
from modelworks.registry.backend.tracking_store import database_of

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["is_local", "machine_lock"]


def machine_lock(project: Project) -> MachineLock:
    """The lock for whoever uses the project's store from this machine, also from another clone.

    It lies beside an SQLite store. For a server it lies in the user's home, under a name made of the address: it keeps
    no other user out.
    """
    path = database_of(project.tracking_uri)
    if path is not None:
        return MachineLock(path.with_name(".locks"))
    address = hashlib.sha256(_place(project.tracking_uri).encode()).hexdigest()[:16]
    return MachineLock(
        Path.home() / ".cache" / "modelworks" / "locks" / address,
        "flock, among the processes of this user on this machine alone",
    )


def is_local(url: str) -> bool:
    """Whether a server's address is on loopback."""
    return urlsplit(url).hostname in LOOPBACK


def _place(uri: str) -> str:
    """What all ways to write an address have in common: without who asks, and with one name for loopback."""
    parts = urlsplit(uri.rstrip("/"))
    host, place = parts.hostname, parts.netloc.rpartition("@")[2].lower()
    if host in LOOPBACK:
        place = "127.0.0.1" + place.removeprefix(f"[{host}]").removeprefix(host)
    return parts._replace(netloc=place).geturl()

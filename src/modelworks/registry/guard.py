"""Where the processes of this machine meet that use the same tracking store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelworks.locks import MachineLock
from modelworks.registry.postgres import LOOPBACK, is_near, is_postgres
from modelworks.registry.store import database_of

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["is_local", "machine_lock"]


def machine_lock(project: Project) -> MachineLock:
    """The lock for whoever uses the project's store from this machine, also from another clone.

    It lies beside an SQLite store. For a server it lies in the user's home, under a name made of the address.
    """
    path = database_of(project.tracking_uri)
    if path is not None:
        return MachineLock(path.with_name(".locks"))
    address = hashlib.sha256(project.tracking_uri.rstrip("/").encode()).hexdigest()[:16]
    folder = Path.home() / ".cache" / "modelworks" / "locks" / address
    if is_local(project.tracking_uri):
        return MachineLock(folder)
    return MachineLock(folder, "flock, among the processes of this user on this machine alone")


def is_local(uri: str) -> bool:
    """Whether a store or a server is this machine's own: an SQLite file, or an address on loopback."""
    if is_postgres(uri):
        return is_near(uri)
    return database_of(uri) is not None or urlsplit(uri).hostname in LOOPBACK

"""The lock that keeps promotions and registrations in one tracking store apart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelworks.files.locks import MachineLock
from modelworks.project import LOOPBACK
from modelworks.redaction import without_password
from modelworks.registry.backend.error_mapping import is_remote
from modelworks.registry.backend.tracking_store import database_of
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

if TYPE_CHECKING:
    from modelworks.files.locks import Lock
    from modelworks.project import Project

__all__ = ["choose_lock", "machine_lock", "warning"]


def choose_lock(project: Project) -> Lock:
    """Return the lock for a project's store: PostgreSQL's where `MODELWORKS_LOCK_URL` names one, else this machine's.

    Raises:
        BadInput: `MODELWORKS_LOCK_URL` is not the address of a PostgreSQL database.
    """
    return AdvisoryLock(project.lock_url) if project.lock_url else machine_lock(project)


def warning(project: Project, lock: Lock) -> str:
    """Return what is wrong with a lock for a project's store; empty for nothing."""
    if not is_remote(project.tracking_uri) or not isinstance(lock, MachineLock):
        return ""
    return (
        f"{without_password(project.tracking_uri)} may be shared, but the lock covers one user's processes on this machine: "
        "let nobody else promote or register, or set MODELWORKS_LOCK_URL to the PostgreSQL database of that server"
    )


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


def _place(uri: str) -> str:
    """What all ways to write an address have in common: without who asks, and with one name for loopback."""
    parts = urlsplit(uri.rstrip("/"))
    host, place = parts.hostname, parts.netloc.rpartition("@")[2].lower()
    if host in LOOPBACK:
        place = "127.0.0.1" + place.removeprefix(f"[{host}]").removeprefix(host)
    return parts._replace(netloc=place).geturl()

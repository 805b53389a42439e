"""Choose the lock for promotions and registrations in a tracking store."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelworks.files.locks import MachineLock
from modelworks.project import LOOPBACK, user_cache
from modelworks.redaction import without_password
from modelworks.registry.backend.error_mapping import is_remote
from modelworks.registry.backend.tracking_store import database_of
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

if TYPE_CHECKING:
    from modelworks.files.locks import Lock
    from modelworks.project import Project

__all__ = ["choose_lock", "machine_lock", "warning"]


def choose_lock(project: Project) -> Lock:
    """Return PostgreSQL's lock if `MODELWORKS_LOCK_URL` is set, else this machine's.

    Raises:
        BadInput: `MODELWORKS_LOCK_URL` is not the URL of a PostgreSQL database.
    """
    return AdvisoryLock(project.lock_url) if project.lock_url else machine_lock(project)


def warning(project: Project, lock: Lock) -> str:
    """Return a warning if the lock does not cover all users of the store; else empty."""
    if not is_remote(project.tracking_uri) or not isinstance(lock, MachineLock):
        return ""
    return (
        f"{without_password(project.tracking_uri)} may be shared, but the lock covers one user's processes on this machine: "
        "promote and register only from here, or set MODELWORKS_LOCK_URL to the PostgreSQL database of that server"
    )


def machine_lock(project: Project) -> MachineLock:
    """Return the lock for all uses of the project's store on this machine, also by other clones.

    The lock files are next to an SQLite store. For a server they are in the user's home, named after its URL, and do
    not exclude other users.
    """
    path = database_of(project.tracking_uri)
    if path is not None:
        return MachineLock(path.with_name(".locks"))
    address = hashlib.sha256(_place(project.tracking_uri).encode()).hexdigest()[:16]
    return MachineLock(
        user_cache() / "locks" / address,
        "flock, among the processes of this user on this machine",
    )


def _place(uri: str) -> str:
    """Return a normalized URL: without credentials, and with one name for loopback."""
    parts = urlsplit(uri.rstrip("/"))
    host, place = parts.hostname, parts.netloc.rpartition("@")[2].lower()
    if host in LOOPBACK:
        place = "127.0.0.1" + place.removeprefix(f"[{host}]").removeprefix(host)
    return parts._replace(netloc=place).geturl()

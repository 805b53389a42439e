"""A DVC remote, asked for objects and given objects: what it says to that.

DVC's own push and fetch take what they cannot see for missing, whatever the server said, and of what they cannot copy
they tell how many objects it was.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelworks.data.dvc_storage import object_cache
from modelworks.errors import BadInput, Corrupt, ModelworksError, Unavailable, first_line
from modelworks.redaction import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dvc.repo import Repo

__all__ = ["bring", "send"]

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What this machine's disk says, not the remote."""
REFUSED = (401, 403)
"""Statuses of HTTP."""


def bring(repository: Repo, cache: Path, names: Sequence[str]) -> bool:
    """Copy objects of the default remote into the cache; False when the remote has not all of them.

    Raises:
        BadInput: it refuses our credentials.
        Corrupt: what it gives is not what the name says.
        Unavailable: it cannot be reached, fails, or breaks off.
    """
    remote, local = repository.cloud.get_remote_odb(name=None), repository.cache.local
    paths = [remote.oid_to_path(name) for name in names]
    try:
        with _said(repository):
            local.add(paths, remote.fs, list(names), verify=True)  # what is not what its name says is removed again
    except FileNotFoundError:
        return False
    for name, path in zip(names, paths, strict=True):
        if not object_cache.path_of(cache, name).is_file():
            raise Corrupt(
                f"{_named(repository)}: {path} is not what its name says",
                "put a good one there from a backup, or delete it, so that the data is built from its source",
                code="dvc.object-damaged",
            )
    return True


def send(repository: Repo, cache: Path, names: Sequence[str]) -> None:
    """Copy objects of the cache to the default remote, but those that it has.

    Raises:
        BadInput: it refuses our credentials.
        Unavailable: it cannot be reached, or fails.
    """
    remote, local = repository.cloud.get_remote_odb(name=None), repository.cache.local
    with _said(repository):
        paths = [str(object_cache.path_of(cache, name)) for name in names]
        remote.add(paths, local.fs, list(names), verify=False)


@contextmanager
def _said(repository: Repo) -> Iterator[None]:
    """Turn what DVC's file systems raise, each its own, into our errors."""
    try:
        yield
    except (FileNotFoundError, ModelworksError):  # the latter is a signal's
        raise
    except Exception as error:  # each remote's library has classes of its own
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        reason = first_line(error)
        if isinstance(error, PermissionError) or getattr(error, "status", None) in REFUSED:
            hint = "renew its credentials (dvc remote modify --local), or ask for the right"
            raise BadInput(f"{_named(repository)} refuses: {reason}", hint, code="dvc.remote-refused") from error
        hint = "see that it can be reached, and run again"
        raise Unavailable(f"{_named(repository)} fails: {reason}", hint, code="dvc.remote-failing") from error


def _named(repository: Repo) -> str:
    """The default remote, without what is secret in its address."""
    name = repository.config["core"]["remote"]
    return f"DVC remote {name} ({without_password(repository.config['remote'][name]['url']).partition('?')[0]})"

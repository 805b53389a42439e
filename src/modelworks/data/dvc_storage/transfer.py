"""Copy objects to and from a DVC remote, and report the reason of a failure.

DVC's push and fetch treat objects that they cannot read as missing, whatever the server replied, and report only the
number of objects that could not be copied.
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

__all__ = ["download", "upload"]

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the local disk, not of the remote."""
REFUSED = (401, 403)
"""HTTP status codes."""


def download(repository: Repo, cache: Path, names: Sequence[str]) -> bool:
    """Copy objects from the default remote to the cache; return False if the remote lacks some.

    Raises:
        BadInput: the remote rejects our credentials.
        Corrupt: an object does not match its digest.
        Unavailable: the remote cannot be reached, fails, or closes the connection.
    """
    remote, local = repository.cloud.get_remote_odb(name=None), repository.cache.local
    paths = [remote.oid_to_path(name) for name in names]
    try:
        with _converted_errors(repository):
            local.add(paths, remote.fs, list(names), verify=True)  # deletes objects that do not match their digest
    except FileNotFoundError:
        return False
    for name, path in zip(names, paths, strict=True):
        if not object_cache.path_of(cache, name).is_file():
            raise Corrupt(
                f"{_remote_name(repository)}: {path} does not match its digest",
                "restore the object from a backup, or delete it so that the data is built from its source",
                code="dvc.object-damaged",
            )
    return True


def upload(repository: Repo, cache: Path, names: Sequence[str]) -> None:
    """Copy objects from the cache to the default remote, except those that it has.

    Raises:
        BadInput: the remote rejects our credentials.
        Unavailable: the remote cannot be reached or fails.
    """
    remote, local = repository.cloud.get_remote_odb(name=None), repository.cache.local
    with _converted_errors(repository):
        paths = [str(object_cache.path_of(cache, name)) for name in names]
        remote.add(paths, local.fs, list(names), verify=False)


@contextmanager
def _converted_errors(repository: Repo) -> Iterator[None]:
    """Convert the exceptions of DVC's file systems to our errors."""
    try:
        yield
    except (FileNotFoundError, ModelworksError):  # a signal handler raises the latter
        raise
    except Exception as error:  # each remote's library has its own exception classes
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        reason = first_line(error)
        if isinstance(error, PermissionError) or getattr(error, "status", None) in REFUSED:
            hint = "renew the credentials with dvc remote modify --local, or ask its administrator for access"
            raise BadInput(f"{_remote_name(repository)} refuses: {reason}", hint, code="dvc.remote-refused") from error
        hint = "check that the remote can be reached, and run again"
        raise Unavailable(f"{_remote_name(repository)} fails: {reason}", hint, code="dvc.remote-failing") from error


def _remote_name(repository: Repo) -> str:
    """Return the default remote's name, and its address without secrets."""
    name = repository.config["core"]["remote"]
    return f"DVC remote {name} ({without_password(repository.config['remote'][name]['url']).partition('?')[0]})"

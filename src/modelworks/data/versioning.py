"""Version `data/` with DVC: `data.dvc` pins it, and a version is a digest of files.

Checking is cheap: the pin and DVC's cached directory listing are read as files. DVC itself is imported only to add,
fetch or restore data.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from modelworks.data import dataset_format
from modelworks.data.dvc_storage import dvc_file, object_cache, transfer
from modelworks.data.dvc_storage.repository import local_remote, opened
from modelworks.errors import Corrupt, Unavailable
from modelworks.fault_injection import effect
from modelworks.files.digest_memo import snapshot
from modelworks.records import DatasetVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dvc.repo import Repo

    from modelworks.project import Project

__all__ = ["clear_leftovers", "fetch", "fetch_into", "observe", "record"]

LEFTOVER = re.compile(r"\.[\w-]{22}\.tmp")
"""The name that DVC gives to a file while it writes it."""


def observe(project: Project, name: str) -> DatasetVersion:
    """Return the current version of `data/<name>/`.

    Only files that changed since the last call are read.

    Raises:
        Corrupt: dataset.json cannot be read.
    """
    folder = project.data / name
    description = dataset_format.describe(folder)
    return DatasetVersion(
        name=name,
        folder=folder,
        digest=object_cache.listing_digest(object_cache.subtree(folder, project.memo)),
        features=dataset_format.features(description),
        rows=description["rows"],
        source=description["source"],
        licence=description["licence"],
    )


def record(project: Project) -> None:
    """Pin the current content of data/ and copy it to the default remote.

    Raises:
        BadInput: the remote rejects our credentials.
        Unavailable: the cache or the remote cannot be written, or another process holds DVC's lock.
    """
    _drop_damaged(project)
    with opened(project) as repository:
        local_remote(repository, project)
        with dvc_file.protected(project), effect("data.add"):
            repository.add([str(project.data)])
        _check_cached(project)
        _remember(project)
        _upload(repository, project)


def fetch(project: Project, overrides: Mapping[str, Any] | None = None) -> bool:
    """Restore data/ to its pin from DVC's cache or the default remote.

    Return False if files are missing there.

    Args:
        overrides: DVC settings that replace the project's own.

    Raises:
        BadInput: data/ has a file that is neither ours nor in the cache; restoring would delete it.
        Corrupt: an object of the remote does not match its digest.
        Unavailable: the remote cannot be reached.
    """
    cache, digest = object_cache.cache(project), _pinned(project)
    with opened(project, overrides) as repository:
        if not object_cache.complete(cache, digest):
            _download(repository, project, digest)
        if not object_cache.complete(cache, digest):
            return False
        listing = object_cache.listing(cache, digest) or {}
        others = {path: md5 for path, md5 in object_cache.subtree(project.data).items() if listing.get(path) != md5}
        dataset_format.refuse_unknown_files(
            project.data, [path for path, md5 in others.items() if not object_cache.holds(cache, md5)]
        )
        # Delete changed files first: DVC would skip a file whose size and time have not changed.
        for path in others:
            (project.data / path).unlink()
        repository.checkout(force=True)
        return True


def fetch_into(project: Project, pinned: str, target: Project) -> bool:
    """Restore the data of any pin into another project; return False if files are missing.

    The data/ and data.dvc of `project` do not change.

    Args:
        project: the project whose cache and default remote are used; downloads stay in its cache.
        pinned: the content of a data.dvc.
        target: an empty project.

    Raises:
        Corrupt: an object of the remote does not match its digest.
        Unavailable: the remote cannot be reached.
    """
    cache = project.root / ".dvc" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (target.root / ".dvc").mkdir()
    (target.root / ".dvc" / "cache").symlink_to(cache)
    (target.root / "data.dvc").write_text(pinned)
    with opened(project) as own:
        # Passed to DVC in memory, because they may contain passwords.
        default = {name: value for name, value in own.config["core"].items() if name == "remote"}
        overrides = {"core": default, "remote": own.config["remote"]}
    return fetch(target, overrides)


def clear_leftovers(project: Project) -> None:
    """Delete the temporary files of a killed DVC in data/. The caller holds the lock on data/."""
    for path in project.data.rglob(".*.tmp"):
        if LEFTOVER.fullmatch(path.name):
            path.unlink()


def _check_cached(project: Project) -> None:
    """Check that every file is in the cache: DVC does not report objects lost on a full disk."""
    cache, digest = object_cache.cache(project), _pinned(project)
    if not object_cache.arrived(cache, digest):
        object_cache.drop_listing(cache, digest)  # or DVC would consider the cache complete the next time
        raise Unavailable(
            f"DVC could not write all of {project.data} into {cache}",
            "free disk space (bytes and inodes) or make the folder writable, and run again",
            code="dvc.cache-incomplete",
        )


def _remember(project: Project) -> None:
    """Store the digests that DVC has just computed of the files in data/."""
    listing = object_cache.listing(object_cache.cache(project), _pinned(project)) or {}
    paths = {project.data / path: md5 for path, md5 in listing.items()}
    project.memo.remember({path: (snapshot(path), md5) for path, md5 in paths.items() if path.is_file()}, "md5")


def _upload(repository: Repo, project: Project) -> None:
    """Copy the pinned objects to the default remote.

    The listing goes last, so its presence implies the rest.

    Raises:
        BadInput: the remote rejects our credentials.
        Unavailable: the remote cannot be written.
    """
    cache, digest = object_cache.cache(project), _pinned(project)
    with effect("data.push"):
        transfer.upload(repository, cache, sorted(set((object_cache.listing(cache, digest) or {}).values())))
        transfer.upload(repository, cache, [digest])


def _download(repository: Repo, project: Project, digest: str) -> None:
    """Copy the pinned objects that the remote has into the cache.

    Raises:
        BadInput: the remote rejects our credentials.
        Corrupt: an object of the remote is damaged.
        Unavailable: the remote cannot be reached.
    """
    cache = object_cache.cache(project)
    remote = local_remote(repository, project)
    if remote and not remote.exists():
        return
    damaged = next(object_cache.damaged(remote, digest), None) if remote else None
    if damaged:
        hint = "restore the object from a backup, or delete it so that the data is built from its source"
        raise Corrupt(f"DVC remote: {damaged} does not match its digest", hint, code="dvc.object-damaged")
    _drop_damaged(project)
    if object_cache.listing(cache, digest) is None and not transfer.download(repository, cache, [digest]):
        return
    _drop_damaged(project)  # again, now that the listing has the digests
    transfer.download(repository, cache, list(object_cache.lacking(cache, digest)))


def _pinned(project: Project) -> str:
    """Return the digest in data.dvc, which must exist."""
    digest = dvc_file.read(project)
    assert digest is not None
    return digest


def _drop_damaged(project: Project) -> None:
    """Delete damaged objects from the cache, so that they are neither restored nor uploaded."""
    digest = dvc_file.read(project)
    for damaged in object_cache.damaged(object_cache.cache(project), digest) if digest else ():
        damaged.unlink()

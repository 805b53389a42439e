"""Data under DVC: `data/` is what `data.dvc` pins, and a data set's version is what is found there.

The version is observed, never typed, and looking is cheap: the pin and the directory listing that DVC keeps in
its cache are read as files; DVC itself is imported only when something must be added, fetched or put back.
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

__all__ = ["bring", "clear_leftovers", "fetch", "observe", "record"]

LEFTOVER = re.compile(r"\.[\w-]{22}\.tmp")
"""What DVC calls a file while it writes it."""


def observe(project: Project, name: str) -> DatasetVersion:
    """The version of `data/<name>/` as it is now: files that have changed since they were read are read again.

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
    """Pin data/ as it stands and copy it to the default remote.

    Raises:
        BadInput: the remote refuses our credentials.
        Unavailable: the cache or the remote cannot be written, or another process holds DVC's lock.
    """
    _drop_damaged(project)
    with opened(project) as repository:
        local_remote(repository, project)
        with dvc_file.kept(project), effect("data.add"):
            repository.add([str(project.data)])
        _check_cached(project)
        _remember(project)
        _upload(repository, project)


def fetch(project: Project, lent: Mapping[str, Any] | None = None) -> bool:
    """Bring data/ to what data.dvc pins, from DVC's cache or the default remote; False when neither has it all.

    Args:
        lent: DVC settings in place of the project's own.

    Raises:
        BadInput: data/ has a file that neither is ours nor lies in the cache: it would be lost.
        Corrupt: the remote's bytes are not what the pin says.
        Unavailable: the remote cannot be reached.
    """
    cache, digest = object_cache.cache(project), _pinned(project)
    with opened(project, lent) as repository:
        if not object_cache.complete(cache, digest):
            _download(repository, project, digest)
        if not object_cache.complete(cache, digest):
            return False
        listing = object_cache.listing(cache, digest) or {}
        others = {path: md5 for path, md5 in object_cache.subtree(project.data).items() if listing.get(path) != md5}
        dataset_format.refuse_strangers(
            project.data, [path for path, md5 in others.items() if not object_cache.holds(cache, md5)]
        )
        # A file that changed without a trace in size and time is what DVC thinks it is: it would be left as it is.
        for path in others:
            (project.data / path).unlink()
        repository.checkout(force=True)
        return True


def bring(project: Project, pinned: str, target: Project) -> bool:
    """Put the data of any pin into another folder, from this project's cache or default remote; False without it all.

    This project's own data/ and data.dvc stay as they are.

    Args:
        project: whose cache and remotes are asked; what is downloaded stays in that cache.
        pinned: the content of a data.dvc.
        target: a project without data, made for this.

    Raises:
        Corrupt: the remote's bytes are not what the pin says.
        Unavailable: the remote cannot be reached.
    """
    cache = project.root / ".dvc" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (target.root / ".dvc").mkdir()
    (target.root / ".dvc" / "cache").symlink_to(cache)
    (target.root / "data.dvc").write_text(pinned)
    with opened(project) as own:
        # Given to DVC in memory: they may hold passwords.
        default = {name: value for name, value in own.config["core"].items() if name == "remote"}
        lent = {"core": default, "remote": own.config["remote"]}
    return fetch(target, lent)


def clear_leftovers(project: Project) -> None:
    """Delete what DVC was writing into data/ when it was killed. Call where nobody else ingests."""
    for path in project.data.rglob(".*.tmp"):
        if LEFTOVER.fullmatch(path.name):
            path.unlink()


def _check_cached(project: Project) -> None:
    """Look for all that was added: of objects that found no room on a full disk DVC says nothing."""
    cache, digest = object_cache.cache(project), _pinned(project)
    if not object_cache.arrived(cache, digest):
        object_cache.drop_listing(cache, digest)  # or DVC would take it for all of them the next time
        raise Unavailable(
            f"DVC could not write all of {project.data} into {cache}",
            "free some disk space, bytes and inodes, or make the folder writable, and run again",
            code="dvc.cache-incomplete",
        )


def _remember(project: Project) -> None:
    """Keep the digests that DVC has just computed of the files in data/."""
    listing = object_cache.listing(object_cache.cache(project), _pinned(project)) or {}
    paths = {project.data / path: md5 for path, md5 in listing.items()}
    project.memo.remember({path: (snapshot(path), md5) for path, md5 in paths.items() if path.is_file()}, "md5")


def _upload(repository: Repo, project: Project) -> None:
    """Copy what is pinned to the default remote, the listing last: where that is, all of it is.

    Raises:
        BadInput: the remote refuses our credentials.
        Unavailable: the remote cannot be written.
    """
    cache, digest = object_cache.cache(project), _pinned(project)
    with effect("data.push"):
        transfer.send(repository, cache, sorted(set((object_cache.listing(cache, digest) or {}).values())))
        transfer.send(repository, cache, [digest])


def _download(repository: Repo, project: Project, digest: str) -> None:
    """Fill the cache from the remote, as far as it goes.

    Raises:
        BadInput: the remote refuses our credentials.
        Corrupt: an object of the remote is damaged.
        Unavailable: the remote cannot be reached.
    """
    cache = object_cache.cache(project)
    remote = local_remote(repository, project)
    if remote and not remote.exists():
        return
    damaged = next(object_cache.damaged(remote, digest), None) if remote else None
    if damaged:
        hint = "put a good one there from a backup, or delete it, so that the data is built from its source"
        raise Corrupt(f"DVC remote: {damaged} is not what its name says", hint, code="dvc.object-damaged")
    _drop_damaged(project)
    if object_cache.listing(cache, digest) is None and not transfer.bring(repository, cache, [digest]):
        return
    _drop_damaged(project)  # of which the listing only now says what they should be
    transfer.bring(repository, cache, list(object_cache.lacking(cache, digest)))


def _pinned(project: Project) -> str:
    """What the pin names, where there is one for certain."""
    digest = dvc_file.read(project)
    assert digest is not None
    return digest


def _drop_damaged(project: Project) -> None:
    """Objects in the cache that are not what the pin says are worse than none: they could be put back, or pushed."""
    digest = dvc_file.read(project)
    for damaged in object_cache.damaged(object_cache.cache(project), digest) if digest else ():
        damaged.unlink()

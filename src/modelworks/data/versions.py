"""Data under DVC: `data/` is what `data.dvc` pins, and a data set's version is what is found there.

The version is observed, never typed, and looking is cheap: the pin and the directory listing that DVC keeps in
its cache are read as files; DVC itself is imported only when something must be added, fetched or put back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.data import packed
from modelworks.errors import Corrupt, Unavailable
from modelworks.records import DatasetVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dvc.repo import Repo

    from modelworks.project import Project

__all__ = [
    "fetch",
    "listing_digest",
    "observe",
    "pin",
    "pinned_files",
    "record",
    "remove_unreadable_lock",
    "subtree",
]

CONFIG = """\
[core]
    remote = local
    analytics = false
    no_scm = true
['remote "local"']
    url = ../.modelworks/dvc-remote
    verify = true
"""


def observe(project: Project, name: str) -> DatasetVersion:
    """The version of `data/<name>/` as it stands: every byte is read.

    Raises:
        Corrupt: dataset.json cannot be read.
    """
    folder = project.data / name
    description = packed.describe(folder)
    return DatasetVersion(
        name=name,
        folder=folder,
        digest=listing_digest(subtree(folder)),
        modality=description["modality"],
        classes=tuple(description["classes"]),
        rows=description["rows"],
        source=description["source"],
        licence=description["licence"],
    )


def subtree(folder: Path) -> dict[str, str]:
    """`{path below the folder: md5}` of its files, as DVC lists them."""
    return {
        path.relative_to(folder).as_posix(): _md5(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def listing_digest(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder: the md5 of its listing, and ".dir"."""
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files, key=lambda name: name.split("/"))]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def pin(project: Project) -> str | None:
    """The digest of data/ that data.dvc names; None when there is no data.dvc.

    Raises:
        Corrupt: it is not what DVC writes.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = project.root / "data.dvc"
    if not path.exists():
        return None
    try:
        return str(YAML(typ="safe", pure=True).load(path.read_text())["outs"][0]["md5"])
    except (YAMLError, LookupError, TypeError, OSError, UnicodeDecodeError) as error:
        raise Corrupt(f"{path} is not what DVC writes: {error}", "git checkout data.dvc") from error


def pinned_files(project: Project, name: str) -> dict[str, str] | None:
    """What the pin says of `data/<name>/`: `{path: md5}`; empty when it does not know the data set.

    None when this machine does not hold the pin's listing, so that nothing can be said without fetching it.
    """
    digest = pin(project)
    if digest is None:
        return {}
    listing = _listing(_cache(project), digest)
    if listing is None:
        return None
    prefix = f"{name}/"
    return {path.removeprefix(prefix): md5 for path, md5 in listing.items() if path.startswith(prefix)}


def record(project: Project) -> None:
    """Pin data/ as it stands and copy it to the default remote.

    Raises:
        Unavailable: the remote cannot be written, or another process holds DVC's lock.
    """
    with _repository(project) as repository:
        repository.add([str(project.data)])
        repository.push()


def fetch(project: Project) -> bool:
    """Bring data/ to what data.dvc pins, from DVC's cache or the default remote; False when neither has it all.

    Raises:
        Corrupt: the remote's bytes are not what the pin says.
        Unavailable: the remote cannot be reached.
    """
    from dvc.exceptions import DvcException

    digest = pin(project)
    assert digest is not None
    for damaged in _damaged(_cache(project), digest):
        damaged.unlink()  # worse than nothing: it could be checked out, and it could be pushed
    with _repository(project) as repository:
        with contextlib.suppress(DvcException):  # the cache lacks an object: look further
            repository.checkout(force=True)
            return True
        remote = repository.cloud.get_remote_odb(name=None)
        if remote.fs.protocol == "local":
            _check_local_remote(Path(remote.path), project, digest)
        # DVC says "missing files" in many ways. All of them mean the same here: this remote does not have the pin.
        with contextlib.suppress(DvcException):
            repository.pull(force=True)
            return True
    return False


def remove_unreadable_lock(project: Project) -> bool:
    """Delete DVC's table of locks if a crash left it unreadable, which would block DVC for ever; True if it was so."""
    path = project.root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return False
    except (ValueError, OSError):
        path.unlink()
        return True
    return False


def _check_local_remote(remote: Path, project: Project, digest: str) -> None:
    """Find out what DVC would not say of a remote that is a folder."""
    if not remote.exists() and not remote.is_relative_to(project.state):
        hint = "mount it, or name another: dvc remote modify"
        raise Unavailable(f"DVC remote {remote} does not exist", hint)
    for damaged in _damaged(remote, digest):
        raise Corrupt(
            f"DVC remote {remote}: {damaged.relative_to(remote)} is not what its name says",
            "delete that file; the next run puts a good one there",
        )


def _damaged(objects: Path, digest: str) -> Iterator[Path]:
    """Objects below a pin, in a folder of objects, whose bytes are not what their names say."""
    listing = _listing(objects, digest)
    for name in (digest, *sorted(set((listing or {}).values()))):
        path = _object(objects, name)
        if path.is_file() and _md5(path) != name.removesuffix(".dir"):
            yield path


def _listing(objects: Path, digest: str) -> dict[str, str] | None:
    """`{path: md5}` of all files below a pin; None when its listing is missing or damaged."""
    try:
        raw = _object(objects, digest).read_bytes()
    except OSError:
        return None
    if hashlib.md5(raw, usedforsecurity=False).hexdigest() + ".dir" != digest:
        return None
    return {entry["relpath"]: entry["md5"] for entry in json.loads(raw)}


def _cache(project: Project) -> Path:
    return project.root / ".dvc" / "cache" / "files" / "md5"


def _object(objects: Path, digest: str) -> Path:
    return objects / digest[:2] / digest[2:]


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _repository(project: Project) -> Iterator[Repo]:
    """The project's DVC repository, made with a verifying local remote when there is none."""
    import logging

    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.rwlock import RWLockFileCorruptedError

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    config = project.root / ".dvc" / "config"
    if not config.exists():
        config.parent.mkdir(exist_ok=True)
        (project.root / ".dvcignore").touch()
        config.write_text(CONFIG)
    # Git is not asked: data/ is ignored by a committed .gitignore, and a project may be unpacked without git.
    options: dict[str, Any] = {"core": {"no_scm": True, "analytics": False, "check_update": False}}
    try:
        with Repo(str(project.root), config=options) as repository:
            yield repository
    except LockError as error:
        raise Unavailable("another process holds DVC's lock", "wait for it, or run modelworks doctor") from error
    except RWLockFileCorruptedError as error:
        raise Unavailable(f"DVC: {error}", "run modelworks doctor: it removes that file") from error
    except DvcException as error:
        raise Unavailable(f"DVC: {error}", "see dvc doctor and dvc status") from error

"""Data under DVC: `data/` is what `data.dvc` pins, and a data set's version is what is found there.

The version is observed, never typed, and looking is cheap: the pin and the directory listing that DVC keeps in
its cache are read as files; DVC itself is imported only when something must be added, fetched or put back.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.data import objects, packed
from modelworks.data.objects import listing_digest, subtree
from modelworks.errors import Corrupt, Unavailable
from modelworks.faults import fault_point
from modelworks.records import DatasetVersion
from modelworks.store import sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dvc.repo import Repo

    from modelworks.project import Project

__all__ = [
    "bring",
    "fetch",
    "listing_digest",
    "observe",
    "pin",
    "pinned_files",
    "record",
    "remove_unreadable_lock",
    "subtree",
    "unreadable_lock",
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


def pin(project: Project) -> str | None:
    """The digest of data/ that data.dvc names; None when there is no data.dvc.

    Raises:
        Corrupt: it is not what DVC writes.
    """
    path, before = _pin_file(project), _pin_before(project)
    try:
        return _read_pin(path) if path.exists() else None
    except Corrupt:
        if not before.exists():
            raise
        # A kill came while DVC wrote the file, in place: the pin is still what it was.
        return _read_pin(before) if before.stat().st_size else None


def pinned_files(project: Project, name: str) -> dict[str, str] | None:
    """What the pin says of `data/<name>/`: `{path: md5}`; empty when it does not know the data set.

    None when this machine does not hold the pin's listing, so that nothing can be said without fetching it.
    """
    digest = pin(project)
    if digest is None:
        return {}
    listing = objects.listing(_cache(project), digest)
    if listing is None:
        return None
    prefix = f"{name}/"
    return {path.removeprefix(prefix): md5 for path, md5 in listing.items() if path.startswith(prefix)}


def record(project: Project) -> None:
    """Pin data/ as it stands and copy it to the default remote.

    Raises:
        Unavailable: the remote cannot be written, or another process holds DVC's lock.
    """
    _drop_damaged(project)
    with _repository(project) as repository:
        _local_remote(repository, project)
        with _pin_kept(project):
            fault_point("data.before_add")
            repository.add([str(project.data)])
            fault_point("data.after_add")
        fault_point("data.before_push")
        repository.push()
        fault_point("data.after_push")


def fetch(project: Project, lent: Mapping[str, Any] | None = None) -> bool:
    """Bring data/ to what data.dvc pins, from DVC's cache or the default remote; False when neither has it all.

    Args:
        lent: DVC settings in place of the project's own.

    Raises:
        Corrupt: the remote's bytes are not what the pin says.
        Unavailable: the remote cannot be reached.
    """
    cache, digest = _cache(project), pin(project)
    assert digest is not None
    with _repository(project, lent) as repository:
        if not objects.complete(cache, digest):
            _download(repository, project, digest)
        if not objects.complete(cache, digest):
            return False
        listing = objects.listing(cache, digest)
        # A file that changed without a trace in size and time is what DVC thinks it is: it would be left as it is.
        for path, md5 in subtree(project.data).items():
            if listing is None or listing.get(path) != md5:
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
    with _repository(project) as own:
        # Given to DVC in memory: they may hold passwords.
        default = {name: value for name, value in own.config["core"].items() if name == "remote"}
        lent = {"core": default, "remote": own.config["remote"]}
    return fetch(target, lent)


def unreadable_lock(project: Project) -> Path | None:
    """DVC's table of locks if a crash left it unreadable, which blocks DVC for ever."""
    path = project.root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return path
    return None


def remove_unreadable_lock(project: Project) -> bool:
    """Delete that table; True if there was one."""
    path = unreadable_lock(project)
    if path is not None:
        path.unlink(missing_ok=True)
    return path is not None


def _local_remote(repository: Repo, project: Project) -> Path | None:
    """The folder of objects that the default remote is; None when it is no folder of this machine.

    Raises:
        Unavailable: a folder outside the project is gone. DVC would make a new one, on the wrong disk perhaps.
    """
    remote = repository.cloud.get_remote_odb(name=None)
    if remote.fs.protocol != "local":
        return None
    folder = Path(remote.path)
    if not folder.parents[1].exists() and not folder.is_relative_to(project.state):
        hint = "mount it, make it, or name another: dvc remote modify"
        raise Unavailable(f"DVC remote {folder.parents[1]} does not exist", hint)
    return folder


def _download(repository: Repo, project: Project, digest: str) -> None:
    """Fill the cache from the remote, as far as it goes.

    Raises:
        Corrupt: an object of the remote is damaged, and the remote is a folder: DVC itself says nothing of that.
    """
    from dvc.exceptions import FileTransferError

    remote = _local_remote(repository, project)
    if remote and not remote.exists():
        return
    damaged = next(objects.damaged(remote, digest), None) if remote else None
    if damaged:
        hint = "put a good one there from a backup, or delete it, so that the data is built from its source"
        raise Corrupt(f"DVC remote: {damaged} is not what its name says", hint)
    # The first round may bring nothing but the listing of a cache whose objects are damaged.
    for _ in range(2):
        _drop_damaged(project)
        if objects.complete(_cache(project), digest):
            return
        with contextlib.suppress(FileTransferError):
            repository.fetch()


def _drop_damaged(project: Project) -> None:
    """Objects in the cache that are not what the pin says are worse than none: they could be put back, or pushed."""
    digest = pin(project)
    for damaged in objects.damaged(_cache(project), digest) if digest else ():
        damaged.unlink()


def _read_pin(path: Path) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        (out,) = YAML(typ="safe", pure=True).load(path.read_text())["outs"]
        digest, _ = str(out["md5"]), out["path"]  # which DVC writes last
    except (YAMLError, LookupError, TypeError, ValueError, OSError) as error:
        raise Corrupt(f"{path} is not what DVC writes: {error}", "git checkout data.dvc") from error
    if not re.fullmatch(r"[0-9a-f]{32}\.dir", digest):
        raise Corrupt(f"{path} is not what DVC writes: md5 {digest}", "git checkout data.dvc")
    return digest


@contextlib.contextmanager
def _pin_kept(project: Project) -> Iterator[None]:
    """Keep data.dvc as it is, empty for none, until the block has ended well: DVC writes it in place."""
    path, before = _pin_file(project), _pin_before(project)
    started = before.with_suffix(".new")
    started.write_bytes(path.read_bytes() if path.exists() else b"")
    sync(started)
    started.replace(before)
    yield
    before.unlink()


def _put_torn_pin_back(project: Project) -> None:
    """Mend what a kill inside `_pin_kept` left: DVC would refuse to work beside half a file."""
    path, before = _pin_file(project), _pin_before(project)
    if not before.exists():
        return
    try:
        if path.exists():
            _read_pin(path)
    except Corrupt:
        if before.stat().st_size:
            before.replace(path)
        else:
            path.unlink()
    before.unlink(missing_ok=True)


def _pin_file(project: Project) -> Path:
    return project.root / "data.dvc"


def _pin_before(project: Project) -> Path:
    return project.state / "data.dvc.before"


def _cache(project: Project) -> Path:
    return project.root / ".dvc" / "cache" / "files" / "md5"


@contextlib.contextmanager
def _repository(project: Project, lent: Mapping[str, Any] | None = None) -> Iterator[Repo]:
    """The project's DVC repository, made with a verifying local remote when there is none."""
    import logging

    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.rwlock import RWLockFileCorruptedError

    for name in ("dvc", "dvc_data", "dvc_objects"):  # what goes wrong is said by our own errors
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = project.root / ".dvc" / "config"
    if not config.exists():
        config.parent.mkdir(exist_ok=True)
        if not (project.root / ".dvcignore").exists():  # DVC looks through the whole project for files of its own
            (project.root / ".dvcignore").write_text("/.venv/\n/.modelworks/\n/mlflow/\n")
        started = config.with_suffix(".new")
        started.write_text(CONFIG)
        started.replace(config)
    _put_torn_pin_back(project)
    # Git is not asked: data/ is ignored by a committed .gitignore, and a project may be unpacked without git.
    core = {"no_scm": True, "analytics": False, "check_update": False}
    options: dict[str, Any] = {**(lent or {}), "core": {**(lent or {}).get("core", {}), **core}}
    try:
        with Repo(str(project.root), config=options) as repository:
            yield repository
    except LockError as error:
        raise Unavailable("another process holds DVC's lock", "wait for it, or run modelworks doctor") from error
    except RWLockFileCorruptedError as error:
        raise Unavailable(f"DVC: {error}", "run modelworks doctor: it removes that file") from error
    except DvcException as error:
        raise Unavailable(f"DVC: {error}", "see dvc doctor and dvc status") from error

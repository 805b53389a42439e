"""Data under DVC: `data/` is what `data.dvc` pins, and a data set's version is what is found there.

The version is observed, never typed, and looking is cheap: the pin and the directory listing that DVC keeps in
its cache are read as files; DVC itself is imported only when something must be added, fetched or restored.
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

__all__ = ["observe", "pin", "pinned_files", "pull", "record", "restore", "subtree"]

REMOTE = "local"


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
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        files[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return files


def listing_digest(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder: the md5 of its listing, and ".dir"."""
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files, key=lambda name: tuple(name.split("/")))]
    text = json.dumps(listing, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def pin(project: Project) -> str | None:
    """The digest of data/ that data.dvc names; None when there is no data.dvc."""
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
    path = project.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    if hashlib.md5(raw, usedforsecurity=False).hexdigest() + ".dir" != digest:
        path.unlink()  # a damaged listing is worth less than none: it can be fetched or made again
        return None
    prefix = f"{name}/"
    return {
        entry["relpath"].removeprefix(prefix): entry["md5"]
        for entry in json.loads(raw)
        if entry["relpath"].startswith(prefix)
    }


def record(project: Project) -> None:
    """Pin data/ as it stands and copy it to the default remote.

    Raises:
        Unavailable: the remote cannot be written, or another process holds DVC's lock.
    """
    with _repository(project) as repository:
        repository.add([str(project.data)])
        repository.push()


def pull(project: Project) -> bool:
    """Bring data/ to what data.dvc pins, from the cache or the default remote; False when neither has it.

    Raises:
        Corrupt: the remote's bytes are not what the pin says.
        Unavailable: the remote cannot be reached.
    """
    from dvc.exceptions import DvcException

    with _repository(project) as repository:
        remote = repository.cloud.get_remote_odb(name=None)
        if remote.fs.protocol == "local" and not Path(remote.path).exists():
            if not Path(remote.path).is_relative_to(project.state):
                raise Unavailable(
                    f"DVC remote {remote.path} does not exist", "mount it, or name another: dvc remote modify"
                )
            return _in_cache(repository, project)
        damaged = _damaged_objects(Path(remote.path)) if remote.fs.protocol == "local" else []
        if damaged:
            raise Corrupt(
                f"DVC remote {remote.path}: {damaged[0].relative_to(remote.path)} is not what its name says",
                "delete that file; the next run puts a good one there",
            )
        try:
            repository.pull(force=True)
        except DvcException:
            # DVC says "missing files" in many ways; whether the pinned bytes arrived is checked by the caller.
            return False
        return True


def restore(project: Project) -> bool:
    """Put back the pinned bytes of data/ from DVC's cache, over whatever stands there; False when it cannot."""
    with _repository(project) as repository:
        return _in_cache(repository, project)


def _in_cache(repository: Repo, project: Project) -> bool:
    from dvc.exceptions import DvcException

    damaged = _damaged_objects(project.root / ".dvc" / "cache" / "files" / "md5")
    for path in damaged:
        path.unlink()
    try:
        repository.checkout(force=True)
    except DvcException:
        return False
    return True


def _damaged_objects(folder: Path) -> list[Path]:
    """Objects of a content-addressed folder whose bytes are not what their names say."""
    damaged = []
    for path in folder.glob("**/[0-9a-f][0-9a-f]/*"):
        if path.is_file() and len(path.name.removesuffix(".dir")) == 30:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if digest != path.parent.name + path.name.removesuffix(".dir"):
                damaged.append(path)
    return damaged


@contextlib.contextmanager
def _repository(project: Project) -> Iterator[Repo]:
    """The project's DVC repository, made with a verifying local remote when there is none."""
    import logging

    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    # Git is not asked: data/ is ignored by a committed .gitignore, and a project may be unpacked without git.
    options: dict[str, Any] = {"core": {"no_scm": True, "analytics": False, "check_update": False}}
    try:
        if not (project.root / ".dvc").is_dir():
            Repo.init(str(project.root), no_scm=True).close()
            (project.root / ".dvc" / "config").write_text(CONFIG)
        with Repo(str(project.root), config=options) as repository:
            yield repository
    except LockError as error:
        raise Unavailable("another process holds DVC's lock", "wait for it, or run modelworks doctor") from error
    except DvcException as error:
        raise Unavailable(f"DVC: {error}", "see dvc doctor and dvc status") from error


CONFIG = """\
[core]
    remote = local
    analytics = false
    no_scm = true
['remote "local"']
    url = ../.modelworks/dvc-remote
    verify = true
"""

"""Read DVC's object folders as files.

An object's name is its md5; a directory is an object that lists names.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from modelworks.files.digest import md5_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from modelworks.files.digest_memo import DigestMemo
    from modelworks.project import Project

__all__ = [
    "arrived",
    "cache",
    "complete",
    "damaged",
    "drop_listing",
    "holds",
    "lacking",
    "listing",
    "listing_digest",
    "path_of",
    "subtree",
]


def cache(project: Project) -> Path:
    """Return the project's object folder."""
    return project.root / ".dvc" / "cache" / "files" / "md5"


def subtree(folder: Path, memo: DigestMemo | None = None) -> dict[str, str]:
    """Return `{relative path: md5}` of a folder's files, as DVC lists them.

    Args:
        folder: the folder to list.
        memo: digests of unchanged files; None to read every file.
    """
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): memo.digest(path, "md5") if memo else md5_digest(path) for path in files
    }


def listing_digest(files: Mapping[str, str]) -> str:
    """Return DVC's digest of a folder: the md5 of its listing and ".dir"."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + ".dir"


def listing(objects: Path, digest: str) -> dict[str, str] | None:
    """Return `{path: md5}` of all pinned files; None if the listing is missing or damaged."""
    try:
        raw = path_of(objects, digest).read_bytes()
    except OSError:
        return None
    if hashlib.md5(raw, usedforsecurity=False).hexdigest() + ".dir" != digest:
        return None
    return {entry["relpath"]: entry["md5"] for entry in json.loads(raw)}


def complete(objects: Path, digest: str) -> bool:
    """Return whether an object folder has every pinned object undamaged."""
    return next(lacking(objects, digest), None) is None


def arrived(objects: Path, digest: str) -> bool:
    """Return whether an object folder has a file for every pinned object.

    The files are not read.
    """
    files = listing(objects, digest)
    return files is not None and all(path_of(objects, md5).is_file() for md5 in set(files.values()))


def holds(objects: Path, name: str) -> bool:
    """Return whether an object folder has the object undamaged."""
    path = path_of(objects, name)
    return path.is_file() and md5_digest(path) == name


def drop_listing(objects: Path, digest: str) -> None:
    """Delete the listing of a pin, if it exists."""
    path_of(objects, digest).unlink(missing_ok=True)


def lacking(objects: Path, digest: str) -> Iterator[str]:
    """Yield the names of pinned objects that are missing or damaged in an object folder."""
    files = listing(objects, digest)
    for name in [digest] if files is None else sorted(set(files.values())):
        if files is None or not holds(objects, name):
            yield name


def damaged(objects: Path, digest: str) -> Iterator[Path]:
    """Yield the paths of pinned objects in an object folder that do not match their names."""
    files = listing(objects, digest) or {}
    for name in (digest, *sorted(set(files.values()))):
        path = path_of(objects, name)
        if path.is_file() and md5_digest(path) != name.removesuffix(".dir"):
            yield path


def path_of(objects: Path, digest: str) -> Path:
    """Return the path of an object in an object folder."""
    return objects / digest[:2] / digest[2:]

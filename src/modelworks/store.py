"""Stage outputs: one folder per key, written aside, synced, named last, verified when read.

A folder exists for the pipeline only with a manifest that every file in it agrees with. So a kill at any
point leaves either nothing or the whole, and a damaged or deleted output is simply made again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelworks.digest import folder_digests, json_digest
from modelworks.errors import BadInput, Unavailable
from modelworks.faults import fault_point

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MANIFEST", "StageStore", "damage", "disk_errors", "publish", "read_manifest", "sync", "write_json"]

MANIFEST = "manifest.json"

GRACE_SECONDS = 60
"""A folder aside younger than this is left alone: its writer may not have locked it yet."""


@dataclass(frozen=True)
class StageStore:
    """The folders `root/<stage>/<key>/`."""

    root: Path

    def folder(self, stage: str, key: str) -> Path:
        """Where the output of a stage under a key is, or would be."""
        return self.root / stage / key

    def state(self, stage: str, key: str) -> Literal["intact", "damaged", "absent"]:
        """Whether the output can be used. Reads every byte of it."""
        folder = self.folder(stage, key)
        if not folder.is_dir():
            return "absent"
        manifest = read_manifest(folder)
        # An intact output under another one's name is none.
        return "intact" if manifest is not None and manifest.get("key") == key else "damaged"

    @contextmanager
    def write(self, stage: str, key: str, ingredients: Mapping[str, str]) -> Iterator[Path]:
        """A folder aside to fill; it takes its name when the block ends without an error.

        Raises:
            BadInput: the disk does not allow it.
            Unavailable: the disk is full or broken.
        """
        target = self.folder(stage, key)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{key[:12]}-", dir=target.parent))
            # The kernel drops this lock with the process, however it dies: an unlocked folder aside is a leftover.
            lock = _lock(aside)
        try:
            with disk_errors(target):
                yield aside
                fault_point("store.before_rename", stage)
                publish(aside, target, {"stage": stage, "key": key, "ingredients": dict(ingredients)})
                fault_point("store.after_rename", stage)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(lock)

    def ingredients(self, stage: str, key: str) -> dict[str, str] | None:
        """What the key of an output was made of; None when the manifest cannot be read."""
        manifest = _manifest(self.folder(stage, key))
        return dict(manifest["ingredients"]) if manifest is not None and "ingredients" in manifest else None

    def clear_leftovers(self, stage: str = "*") -> int:
        """Delete what killed writers left aside and return how many folders that were; living ones keep theirs."""
        found = self.leftovers(stage)
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return len(found)

    def leftovers(self, stage: str = "*") -> list[Path]:
        """What killed writers left aside."""
        return [path for path in sorted(self.root.glob(f"{stage}/.*")) if path.is_dir() and _abandoned(path)]


def publish(aside: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Give a finished folder its manifest and its name; whatever stood under that name goes."""
    files = folder_digests(aside)
    manifest = {**facts, "files": files}
    write_json(aside / MANIFEST, {**manifest, "sha256": json_digest(manifest)})
    for name in files:
        sync(aside / name)
    for folder in {aside, *(path for path in aside.rglob("*") if path.is_dir())}:
        sync(folder)
    if target.exists():
        grave = Path(tempfile.mkdtemp(prefix=".gone-", dir=target.parent))
        target.rename(grave / "folder")
        shutil.rmtree(grave, ignore_errors=True)
    aside.rename(target)
    sync(target.parent)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None unless the folder holds exactly the files it names, byte for byte."""
    return None if damage(folder) else _manifest(folder)


def damage(folder: Path) -> str:
    """The first file of a folder that is not what the manifest says, and how; empty when all of them are."""
    manifest = _manifest(folder)
    if manifest is None:
        return f"{MANIFEST} was changed or is missing"
    try:
        links = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_symlink()]
        found = {name: value for name, value in folder_digests(folder).items() if name != MANIFEST}
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    if links:
        return f"{links[0]} is a symbolic link"
    listed = manifest["files"]
    for name in sorted({*found, *listed}):
        if name not in found:
            return f"{name} is missing"
        if name not in listed:
            return f"{name} was never part of it"
        if found[name] != listed[name]:
            return f"{name} was changed"
    return ""


def _manifest(folder: Path) -> dict[str, Any] | None:
    """What the manifest says, its own digest left out; None unless that is right."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return None
    return manifest if manifest.pop("sha256", None) == json_digest(manifest) else None


def write_json(path: Path, value: Any) -> None:  # any JSON value
    """Write a JSON file for people and programs: indented, synced to disk."""
    with path.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def disk_errors(path: Path, needs: int = 0) -> Iterator[None]:
    """Turn what the disk refuses into an error that names the place and the way out.

    Args:
        path: named where the system names none.
        needs: bytes that are to be written; 0 for what nobody has counted.
    """
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or path  # of a copy, where it was to go
        # NumPy only says how many of its items were written.
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or str(error).endswith(" written"):
            raise _no_space(place, needs) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BadInput(f"cannot write {place}: {error.strerror}", "make the folder writable") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise BadInput(
                f"cannot make the folder {place}: a file is in its way", "move that file elsewhere"
            ) from error
        if error.errno == errno.EIO:
            raise Unavailable(f"the disk failed at {place}", "see the system's log, then run again") from error
        raise


def _no_space(place: Any, needs: int) -> Unavailable:
    """The disk takes no more bytes, or no more files: the system has one error for both."""
    folder = next((each for each in (Path(str(place)), *Path(str(place)).parents) if each.is_dir()), Path())
    disk = os.statvfs(folder)
    if disk.f_files and not disk.f_favail:
        return Unavailable(
            f"no inodes left while writing {place}: its disk has room for bytes, but for no more files",
            "delete files on that disk and run again; df -i shows how many it takes",
        )
    amount = f", which needs {needs / 1e6:,.1f} MB" if needs else ""
    return Unavailable(f"no space left while writing {place}{amount}", "free some disk space and run again")


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _abandoned(folder: Path) -> bool:
    try:
        if time.time() - folder.stat().st_mtime < GRACE_SECONDS:
            return False
        os.close(_lock(folder))
    except OSError:  # locked by its writer, or gone meanwhile
        return False
    return True


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

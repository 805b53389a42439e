"""Stage outputs: one folder per key, written aside, synced, named last, verified when read.

A folder exists for the pipeline only with a manifest that every file in it agrees with. So a kill at any
point leaves either nothing or the whole, and a damaged or deleted output is simply made again.
"""

from __future__ import annotations

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

from modelworks.atomic_files import disk_errors, sync, write_json
from modelworks.digest import folder_digests, json_digest
from modelworks.fault_injection import fault_point

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MANIFEST", "StageStore", "damage", "publish", "read_manifest"]


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

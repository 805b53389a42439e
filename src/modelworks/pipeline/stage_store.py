"""Stage outputs: one folder per key, written aside, synced, named last, verified when read.

A folder exists for the pipeline only with a manifest that every file in it agrees with. So a kill at any
point leaves either nothing or the whole, and a damaged or deleted output is simply made again. A file is read for that
once, and again when its size, times or inode have changed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelworks.fault_injection import fault_point
from modelworks.files.atomic_files import disk_errors, sync, write_json
from modelworks.files.digest import folder_digests, json_digest
from modelworks.files.digest_memo import DigestMemo, snapshot
from modelworks.files.manifests import MANIFEST, Listed, load_manifest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["StageStore", "publish"]


GRACE_SECONDS = 60
"""A folder aside younger than this is left alone: its writer may not have locked it yet."""


@dataclass(frozen=True)
class StageStore:
    """The folders `root/<stage>/<key>/`."""

    root: Path

    @property
    def memo(self) -> DigestMemo:
        """What is known of the files in the store."""
        return DigestMemo(self.root)

    def folder(self, stage: str, key: str) -> Path:
        """Where the output of a stage under a key is, or would be."""
        return self.root / stage / key

    def state(
        self, stage: str, key: str, digest: Callable[[Path], str] | None = None
    ) -> Literal["intact", "damaged", "absent"]:
        """Whether the output can be used.

        Args:
            stage: that made it.
            key: of it.
            digest: gives a file's SHA-256; None to read the files that have changed since they were read or written.
        """
        folder = self.folder(stage, key)
        if not folder.is_dir():
            return "absent"
        manifest = read_manifest(folder, digest or self.memo.digest)
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
                files = publish(aside, target, {"stage": stage, "key": key, "ingredients": dict(ingredients)})
                # Nobody else knew these files until now.
                self.memo.remember({target / name: (snapshot(target / name), sha) for name, sha in files.items()})
                fault_point("store.after_rename", stage)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(lock)

    def ingredients(self, stage: str, key: str) -> dict[str, str] | None:
        """What the key of an output was made of; None when the manifest cannot be read."""
        manifest = load_manifest(self.folder(stage, key))
        return dict(manifest["ingredients"]) if manifest is not None and "ingredients" in manifest else None

    def files(self, stage: str, key: str) -> dict[str, dict[str, Any]] | None:
        """Size and SHA-256 of each file of an output, by its manifest; None when that cannot be read."""
        manifest = load_manifest(self.folder(stage, key))
        return dict(manifest["files"]) if manifest is not None and manifest.get("key") == key else None

    def clear_leftovers(self, stage: str = "*") -> int:
        """Delete what killed writers left aside and return how many folders that were; living ones keep theirs."""
        found = self.leftovers(stage)
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return len(found)

    def leftovers(self, stage: str = "*") -> list[Path]:
        """What killed writers left aside."""
        return [path for path in sorted(self.root.glob(f"{stage}/.*")) if path.is_dir() and _abandoned(path)]


def publish(aside: Path, target: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    """Give a finished folder its manifest and its name; whatever stood under that name goes.

    Returns the SHA-256 of each file but the manifest.
    """
    files = folder_digests(aside, Listed(aside).digest)
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
    return {name: str(each["sha256"]) for name, each in files.items()}


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

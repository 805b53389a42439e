"""Store stage outputs, one folder per key, written atomically and verified when read.

An output counts only if every file in it matches its manifest. So a kill leaves either no output or a complete one, and
a damaged or deleted output is computed again. A file is hashed once, and again when its size, times or inode change.
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
"""Younger temporary folders are not deleted: their writer may not have locked them yet."""


@dataclass(frozen=True)
class StageStore:
    """The folders `root/<stage>/<key>/`."""

    root: Path

    @property
    def memo(self) -> DigestMemo:
        """The digest memo of the files in the store."""
        return DigestMemo(self.root)

    def folder(self, stage: str, key: str) -> Path:
        """Return the folder of a stage's output; it may not exist."""
        return self.root / stage / key

    def state(
        self, stage: str, key: str, digest: Callable[[Path], str] | None = None
    ) -> Literal["intact", "damaged", "absent"]:
        """Return whether the output can be used.

        Args:
            stage: its stage.
            key: its key.
            digest: returns a file's SHA-256; None to use the digest memo.
        """
        folder = self.folder(stage, key)
        if not folder.is_dir():
            return "absent"
        manifest = read_manifest(folder, digest or self.memo.digest)
        # An intact output in the folder of another key does not count.
        return "intact" if manifest is not None and manifest.get("key") == key else "damaged"

    @contextmanager
    def write(self, stage: str, key: str, ingredients: Mapping[str, str]) -> Iterator[Path]:
        """Yield a temporary folder; rename it to its final name if the block succeeds.

        Raises:
            BadInput: the folder is not writable.
            Unavailable: the disk is full or failed.
        """
        target = self.folder(stage, key)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{key[:12]}-", dir=target.parent))
            # The kernel releases this lock when the process dies: an unlocked temporary folder is a leftover.
            lock = _lock(temporary)
        try:
            with disk_errors(target):
                yield temporary
                fault_point("store.before_rename", stage)
                files = publish(temporary, target, {"stage": stage, "key": key, "ingredients": dict(ingredients)})
                self.memo.remember({target / name: (snapshot(target / name), sha) for name, sha in files.items()})
                fault_point("store.after_rename", stage)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(lock)

    def ingredients(self, stage: str, key: str) -> dict[str, str] | None:
        """Return the ingredients of an output's key; None if the manifest cannot be read."""
        manifest = load_manifest(self.folder(stage, key))
        return dict(manifest["ingredients"]) if manifest is not None and "ingredients" in manifest else None

    def files(self, stage: str, key: str) -> dict[str, dict[str, Any]] | None:
        """Return size and SHA-256 of each file from the manifest; None if it cannot be read."""
        manifest = load_manifest(self.folder(stage, key))
        return dict(manifest["files"]) if manifest is not None and manifest.get("key") == key else None

    def clear_leftovers(self, stage: str = "*") -> int:
        """Delete the temporary folders of killed writers and return how many there were."""
        found = self.leftovers(stage)
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return len(found)

    def leftovers(self, stage: str = "*") -> list[Path]:
        """Return the temporary folders of killed writers."""
        return [path for path in sorted(self.root.glob(f"{stage}/.*")) if path.is_dir() and _abandoned(path)]


def publish(temporary: Path, target: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    """Write the manifest and rename the folder to `target`, replacing what was there.

    Returns the SHA-256 of each file except the manifest.
    """
    files = folder_digests(temporary, Listed(temporary).digest)
    manifest = {**facts, "files": files}
    write_json(temporary / MANIFEST, {**manifest, "sha256": json_digest(manifest)})
    for name in files:
        sync(temporary / name)
    for folder in {temporary, *(path for path in temporary.rglob("*") if path.is_dir())}:
        sync(folder)
    if target.exists():
        trash = Path(tempfile.mkdtemp(prefix=".gone-", dir=target.parent))
        target.rename(trash / "folder")
        shutil.rmtree(trash, ignore_errors=True)
    temporary.rename(target)
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
    except OSError:  # locked by its writer, or deleted meanwhile
        return False
    return True

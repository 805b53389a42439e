"""Read and check manifests: size and SHA-256 of each file in a folder, and facts about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from modelworks.files.digest import file_digest, folder_digests, json_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MANIFEST", "Listed", "damage", "load_manifest", "read_manifest"]

MANIFEST = "manifest.json"


class Listed:
    """Digests from the manifest of a saved model, which was written just before."""

    def __init__(self, folder: Path) -> None:
        self._known: dict[Path, dict[str, Any]] = {}
        for path in folder.glob(f"*/{MANIFEST}"):
            listed = json.loads(path.read_bytes())
            self._known |= {path.parent / name: each for name, each in listed.items() if isinstance(each, dict)}

    def digest(self, path: Path) -> str:
        """Return the listed SHA-256 if the size matches, else compute it."""
        listed = self._known.get(path, {})
        return str(listed["sha256"]) if listed.get("size") == path.stat().st_size else file_digest(path)


def read_manifest(folder: Path, digest: Callable[[Path], str] = file_digest) -> dict[str, Any] | None:
    """Return the manifest of a folder, or None if the files differ from it.

    Args:
        folder: with the manifest.
        digest: returns a file's SHA-256; by default it reads the file.
    """
    return None if damage(folder, digest) else load_manifest(folder)


def damage(folder: Path, digest: Callable[[Path], str] = file_digest) -> str:
    """Describe the first file that differs from the manifest; empty if none does.

    Args:
        folder: with the manifest.
        digest: returns a file's SHA-256; by default it reads the file.
    """
    manifest = load_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} was changed or is missing"
    try:
        links = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_symlink()]
        found = {name: value for name, value in folder_digests(folder, digest).items() if name != MANIFEST}
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    if links:
        return f"{links[0]} is a symbolic link"
    listed = manifest["files"]
    for name in sorted({*found, *listed}):
        if name not in found:
            return f"{name} is missing"
        if name not in listed:
            return f"{name} is not in {MANIFEST}"
        if found[name] != listed[name]:
            return f"{name} was changed"
    return ""


def load_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest without its own digest; None unless that digest is right."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return None
    return manifest if manifest.pop("sha256", None) == json_digest(manifest) else None

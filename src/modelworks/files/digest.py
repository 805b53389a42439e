"""Digests of files, folders and JSON values."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["canonical_json", "file_digest", "folder_digests", "json_digest", "md5_digest", "text_digest"]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def md5_digest(path: Path) -> str:
    """Return the MD5 of a file's bytes, in hex, as DVC uses it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical_json(value: Any) -> str:  # any JSON value
    """Return canonical JSON: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def json_digest(value: Any) -> str:  # any JSON value
    """Return the SHA-256 of a value's canonical JSON."""
    return text_digest(canonical_json(value))


def folder_digests(folder: Path, digest: Callable[[Path], str] = file_digest) -> dict[str, dict[str, Any]]:
    """Return `{relative path: {"size": bytes, "sha256": hex}}` of all files of a folder.

    Args:
        folder: to search.
        digest: returns a file's SHA-256; by default it reads the file.
    """
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": digest(path)}
        for path in _files(folder)
    }


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())

"""Paths of artifacts in a local store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["local_path"]


def local_path(uri: str | None) -> Path:
    """Return the path of a file URI, in which a blank is %20, or of a path."""
    assert uri is not None
    return Path(unquote(urlsplit(uri).path))

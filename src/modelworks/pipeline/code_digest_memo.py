"""Digests of source that an earlier process computed.

To parse the project's modules took half of the time of a run with nothing to do.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from modelworks.files.atomic_files import replace_json
from modelworks.pipeline import code_digest as method
from modelworks.project import user_cache

__all__ = ["code_digests"]

LIMIT = 5000
"""Number of digests above which the file is begun anew; a version of the project has 300 modules."""


def code_digests(sources: Mapping[str, bytes]) -> dict[str, str]:
    """Return the code digest of each module's source, by the module's name.

    A digest is stored by the SHA-256 of its source, so it cannot be out of date. If the file of digests is damaged or
    the home cannot be written, the digests are computed.

    Raises:
        SyntaxError, ValueError: a source is not Python.
    """
    known = _known()
    size = len(known)
    found = {}
    for name, source in sources.items():
        content = hashlib.sha256(source).hexdigest()
        if content not in known:
            known[content] = method.code_digest(source)
        found[name] = known[content]
    if len(known) > size:
        with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
            replace_json(_path(), known)
    return found


@cache
def _known() -> dict[str, str]:
    """Read the stored digests by the SHA-256 of their source."""
    try:
        stored = json.loads(_path().read_bytes())
    except (OSError, ValueError, RuntimeError):
        return {}
    if (
        not isinstance(stored, dict)
        or len(stored) > LIMIT
        or not all(isinstance(each, str) for each in stored.values())
    ):
        return {}
    return stored


@cache
def _path() -> Path:
    """Return the file of digests, which depend on the code that computes them and on Python's parser."""
    code = Path(method.__file__).read_bytes() + repr(sys.version_info[:2]).encode()
    return user_cache() / "code-digests" / f"{hashlib.sha256(code).hexdigest()[:16]}.json"

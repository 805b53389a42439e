"""Suggest the expectation or fact that a misspelt name in a config probably means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from modelworks.validation.great_expectations_internals import known_expectations

__all__ = ["nearest", "unknown_expectations"]


def unknown_expectations(names: Iterable[str]) -> tuple[str, ...]:
    """Return a message per name that Great Expectations lacks, with the nearest existing name."""
    known = known_expectations()
    return tuple(f"there is no expectation {name!r}{nearest(name, known)}" for name in names if name not in known)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` or "".

    A class name (`ExpectColumnToExist`) matches its snake case.
    """
    plain = {name.replace("_", "").lower(): name for name in known}
    found = difflib.get_close_matches(word.replace("_", "").lower(), plain, n=1, cutoff=0.5)
    return f"; did you mean {plain[found[0]]}?" if found else ""

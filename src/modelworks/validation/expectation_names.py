"""Great Expectations' own names for expectations, read from its source: importing it takes seconds.

A config can so be checked, and the nearest name suggested, before any work starts.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

__all__ = ["known_expectations", "nearest", "unknown_expectations"]


def known_expectations() -> dict[str, str]:
    """The names that `checks.expect` may use, each with its class in `great_expectations.expectations`."""
    spec = importlib.util.find_spec("great_expectations")
    assert spec is not None
    assert spec.origin is not None
    # A submodule's spec would import the package; its exports are one module and class per expectation.
    exports = ast.parse((Path(spec.origin).parent / "expectations" / "core" / "__init__.py").read_bytes())
    return {
        node.module: node.names[0].name
        for node in exports.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("expect_")
    }


def unknown_expectations(names: Iterable[str]) -> tuple[str, ...]:
    """One phrase per name that GX does not know, with the nearest that it does."""
    known = known_expectations()
    return tuple(f"there is no expectation {name!r}{nearest(name, known)}" for name in names if name not in known)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing. Class names (`ExpectColumnToExist`) find their snake case."""
    plain = {name.replace("_", "").lower(): name for name in known}
    found = difflib.get_close_matches(word.replace("_", "").lower(), plain, n=1, cutoff=0.5)
    return f"; did you mean {plain[found[0]]}?" if found else ""

"""Features of data sets for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["labelled"]


def labelled(kind: str, classes: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Return the features of an input kind and a label, with its classes if given."""
    return {kind: {"kind": kind}, "label": {"kind": "label", **({"classes": list(classes)} if classes else {})}}

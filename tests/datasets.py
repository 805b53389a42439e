"""The typed columns of data sets that tests make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["labelled"]


def labelled(kind: str, classes: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """An input of a kind and a label, with its classes where they are known."""
    return {kind: {"kind": kind}, "label": {"kind": "label", **({"classes": list(classes)} if classes else {})}}

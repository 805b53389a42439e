"""The result of one check, with the function that repairs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Repair", "State", "failing", "ok", "repairable"]

Repair = Callable[[], str]
"""Repairs a finding and returns a description. It may raise a `ModelworksError` or an `OSError` if it fails."""
State = Literal["ok", "repaired", "would repair", "failing"]


@dataclass(frozen=True)
class Finding:
    """The result of one check. The check itself changes nothing."""

    what: str
    state: Literal["ok", "repairable", "failing"]
    """`repairable` is repaired automatically, `failing` only by hand."""
    detail: str
    repair: Repair | None = None


def ok(what: str, detail: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(what, "ok", detail)


def repairable(what: str, detail: str, repair: Repair) -> Finding:
    """Return a problem that can be repaired automatically."""
    return Finding(what, "repairable", detail, repair)


def failing(what: str, detail: str) -> Finding:
    """Return a problem to repair by hand; `detail` includes the instruction."""
    return Finding(what, "failing", detail)

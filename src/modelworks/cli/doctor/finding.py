"""What an examination finds, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Remedy", "State", "ill", "sick", "well"]

Remedy = Callable[[], str]
"""Mends what was found; returns in words what it did. It may raise one of our errors or an OSError: it stays ill."""
State = Literal["well", "mended", "would mend", "ill"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Finding it has changed nothing."""

    what: str
    state: Literal["well", "sick", "ill"]
    """Sick is what can be mended, ill what a person must mend."""
    detail: str
    remedy: Remedy | None = None


def well(what: str, detail: str) -> Finding:
    """All is as it should be."""
    return Finding(what, "well", detail)


def sick(what: str, detail: str, remedy: Remedy) -> Finding:
    """There is something that is safe to mend."""
    return Finding(what, "sick", detail, remedy)


def ill(what: str, detail: str) -> Finding:
    """There is something that only a person should mend; the detail says how."""
    return Finding(what, "ill", detail)

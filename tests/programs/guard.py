"""A guard: a line or two without which a test must fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """A guard and the source without it."""

    name: str
    file: str
    present: str
    """The text of the guard, which occurs once in the file."""
    absent: str
    tests: tuple[str, ...]
    """Files or tests; at least one must fail without the guard."""

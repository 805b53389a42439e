"""What a report shows of a text: its beginning."""

from __future__ import annotations

__all__ = ["preview"]

LONGEST = 280
"""Characters."""


def preview(content: str) -> str:
    """The text, cut where it is long."""
    return content if len(content) <= LONGEST else content[: LONGEST - 1] + "…"

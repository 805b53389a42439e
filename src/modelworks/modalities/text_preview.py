"""Preview of a text for reports."""

from __future__ import annotations

__all__ = ["preview"]

LONGEST = 280
"""Maximum number of characters."""


def preview(content: str) -> str:
    """Return the text, truncated to LONGEST characters."""
    return content if len(content) <= LONGEST else content[: LONGEST - 1] + "…"

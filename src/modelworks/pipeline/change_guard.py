"""Detect that inputs, such as data or code, change while they are in use."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelworks.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["confirmed"]


@contextmanager
def confirmed(*checks: Callable[[], None]) -> Iterator[None]:
    """Check after the block, also after an error in it, that no input has changed.

    Args:
        checks: each raises if its input has changed. Its exception replaces that of the block.
    """
    try:
        yield
    except Exception as error:  # raised again if no input has changed
        if not isinstance(error, Interrupted):
            _confirm(checks)
        raise
    _confirm(checks)


def _confirm(checks: tuple[Callable[[], None], ...]) -> None:
    for check in checks:
        check()

"""Work on a ground that others may change while it is done: data that a newer version replaces, code that is edited."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelworks.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["confirmed"]


@contextmanager
def confirmed(*grounds: Callable[[], None]) -> Iterator[None]:
    """Make sure after a block that it stood on the same ground all the while.

    Args:
        grounds: each raises when it has changed. That is then what is said: what the block itself came to, be it an
            error, means nothing any more.
    """
    try:
        yield
    except Exception as error:  # goes on to who asked, if the ground is the same
        if not isinstance(error, Interrupted):
            _confirm(grounds)
        raise
    _confirm(grounds)


def _confirm(grounds: tuple[Callable[[], None], ...]) -> None:
    for each in grounds:
        each()

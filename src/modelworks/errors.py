"""Every error that a user can meet, as one tree. Each branch has one exit code, each error a stable code.

ModelworksError          1  our own bug, should never be seen
├── BadInput             2  config, data or arguments are wrong: change them
├── Refused              3  a check or the gate said no: the system works as intended
├── Unavailable          4  a service, lock or disk cannot be had now: a retry may help
│   └── Overtaken        4  another run changed what this one stands on: a new run helps, no retry
├── Corrupt              5  stored bytes are not the bytes that were written
└── Interrupted    130/143  stopped from outside: the next run resumes
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from modelworks.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["BadInput", "Corrupt", "Interrupted", "ModelworksError", "Overtaken", "Refused", "Unavailable", "first_line"]


class ModelworksError(Exception):
    """An error: `message` says what happened and where, `hint` how to fix it. No secret is in either.

    `code` names the error for programs, e.g. `source.missing-column`. It stays when the texts change.
    """

    exit_code = 1
    reported = False
    """Whether the command has printed its result with --json, so that the error is not a second object."""

    def __init__(self, message: str, hint: str = "", *, code: str = "internal") -> None:
        self.message, self.hint, self.code = redacted(message), redacted(hint), code
        super().__init__(self.message)

    def after_output(self) -> Self:
        """Mark the error as raised after the command has printed its result."""
        self.reported = True
        return self

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Callable[..., ModelworksError], tuple[Any, ...]]:
        return _rebuilt, (type(self), self.message, self.hint, self.code)


class BadInput(ModelworksError):
    """The config, the data or the arguments are wrong."""

    exit_code = 2


class Refused(ModelworksError):
    """A check on the data, or the gate, refused."""

    exit_code = 3


class Unavailable(ModelworksError):
    """A service, a lock, a child process or the disk is not there now."""

    exit_code = 4


class Overtaken(Unavailable):
    """What the run stands on is another by now."""


class Corrupt(ModelworksError):
    """Stored bytes differ from what was written."""

    exit_code = 5


class Interrupted(ModelworksError):
    """A signal stopped the work; what was finished is kept and the next run goes on from there."""

    def __init__(self, signal_number: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}", "run the same command again: it resumes", code="interrupted")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[Callable[..., ModelworksError], tuple[Any, ...]]:
        return type(self), (self.signal_number,)


def _rebuilt(kind: type[ModelworksError], message: str, hint: str, code: str) -> ModelworksError:
    """Make an error again from what pickle kept of it."""
    return kind(message, hint, code=code)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, its type where it has none."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__

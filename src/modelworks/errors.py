"""The exceptions that users see. Each class has an exit code, each error a stable code.

ModelworksError          1  a bug in modelworks
├── BadInput             2  the config, the data or the arguments are wrong
├── Refused              3  a data check or the gate failed
├── Unavailable          4  a service, lock or disk is not available: a retry may help
│   └── Overtaken        4  another process changed an input: run again, do not retry
├── Corrupt              5  stored bytes differ from the bytes that were written
└── Interrupted    130/143  stopped by a signal: the next run resumes
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
    """Base class of all errors.

    `message` is what happened and where, `hint` is how to fix it. Secrets are masked in both.

    `code` identifies the error for programs, e.g. `source.missing-column`. It does not change with the text.
    """

    exit_code = 1
    reported = False
    """Whether the command has already printed its --json result, so that the error is not a second object."""

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
        return _unpickle, (type(self), self.message, self.hint, self.code)


class BadInput(ModelworksError):
    """The config, the data or the arguments are wrong."""

    exit_code = 2


class Refused(ModelworksError):
    """A check on the data, or the gate, failed."""

    exit_code = 3


class Unavailable(ModelworksError):
    """A service, a lock, a child process or the disk is not available."""

    exit_code = 4


class Overtaken(Unavailable):
    """Another process changed an input while the run was using it."""


class Corrupt(ModelworksError):
    """Stored bytes differ from what was written."""

    exit_code = 5


class Interrupted(ModelworksError):
    """A signal or a cancellation stopped the work; finished stages are kept and the next run resumes."""

    def __init__(self, signal_number: int, by: str = "") -> None:
        """`by`: what stopped the work if it was no signal. The exit code is that of the signal."""
        name = by or signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}", "run the same command again: it resumes", code="interrupted")
        self.signal_number, self.by = signal_number, by
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[Callable[..., ModelworksError], tuple[Any, ...]]:
        return type(self), (self.signal_number, self.by)


def _unpickle(kind: type[ModelworksError], message: str, hint: str, code: str) -> ModelworksError:
    """Rebuild an error when it is unpickled."""
    return kind(message, hint, code=code)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has no message."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__

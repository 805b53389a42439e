"""Every error a person can meet, as one tree; each branch is one exit code.

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

from modelworks.redaction import redacted

__all__ = ["BadInput", "Corrupt", "Interrupted", "ModelworksError", "Overtaken", "Refused", "Unavailable", "first_line"]


class ModelworksError(Exception):
    """An error with the way out: `message` says what and where, `hint` what to do about it; no secret is in either."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = redacted(message), redacted(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[ModelworksError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


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
        super().__init__(f"stopped by {signal.Signals(signal_number).name}", "run the same command again: it resumes")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int]]:  # type: ignore[override]  # built from its signal alone
        return type(self), (self.signal_number,)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, its type where it has none."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__

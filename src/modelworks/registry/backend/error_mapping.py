"""Turn what MLflow raises into our errors."""

from __future__ import annotations

import re
import shlex
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from modelworks.errors import BadInput, Unavailable, first_line
from modelworks.files.atomic_files import disk_errors
from modelworks.registry.backend.mlflow_internals import DELETED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient

__all__ = ["is_outage", "is_remote", "mlflow_command", "said_clearly", "tracking_errors"]

P = ParamSpec("P")
R = TypeVar("R")


def is_remote(uri: str) -> bool:
    """Whether a tracking address is a server's."""
    return uri.startswith(("http://", "https://"))


def mlflow_command(uri: str, *words: str) -> str:
    """A command of MLflow's own, to be run as printed: it names an embedded store, which MLflow would not find.

    Any other store is the one that the user's MLFLOW_TRACKING_URI names already.
    """
    command = shlex.join(["mlflow", *words])
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {command}" if uri.startswith("sqlite:") else command


def said_clearly(function: Callable[Concatenate[MlflowClient, P], R]) -> Callable[Concatenate[MlflowClient, P], R]:
    """Wrap a function of a client in `tracking_errors`."""

    @wraps(function)
    def wrapped(client: MlflowClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with tracking_errors(client.tracking_uri):
            return function(client, *args, **kwargs)

    return wrapped


@contextmanager
def tracking_errors(uri: str) -> Iterator[None]:
    """Turn an outage of the tracking store into `Unavailable`; refused credentials and a deleted run into `BadInput`.

    Anything else that MLflow raises is our own bug and passes.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        with disk_errors(Path(uri.removeprefix("sqlite:///"))):
            yield
    except MlflowException as error:
        reason = _first_line(error)
        if error.error_code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            raise _refusal(uri, reason) from error
        if any(words in reason for words in DELETED):
            raise BadInput(
                f"{uri}: the run, or its experiment, was deleted: {reason}",
                _restore(uri, reason),
                code="mlflow.deleted",
            ) from error
        if is_outage(error, uri):
            raise Unavailable(
                f"{_named(uri)} does not answer: {reason}", _way_out(uri, reason), code="mlflow.unavailable"
            ) from error
        raise
    except RequestException as error:
        # The client raises this of artifacts alone; of all else, what it makes of the answer.
        if error.response is not None and error.response.status_code in (401, 403):
            raise _refusal(uri, _first_line(error)) from error
        reason = _first_line(error)
        raise Unavailable(
            f"{_named(uri)} does not answer: {reason}", _way_out(uri, reason), code="mlflow.unavailable"
        ) from error


def is_outage(error: Exception, uri: str) -> bool:
    """Whether the store could not be reached or used, so that a later attempt may succeed."""
    # The client reports a broken connection as an internal error; so does a server that failed.
    codes = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR") if is_remote(uri) else ("TEMPORARILY_UNAVAILABLE",)
    return getattr(error, "error_code", None) in codes


def _named(uri: str) -> str:
    return f"the MLflow server {uri}" if is_remote(uri) else uri


def _refusal(uri: str, reason: str) -> BadInput:
    return BadInput(
        f"{uri} refuses: {reason}",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ask for the right",
        code="mlflow.refused",
    )


def _restore(uri: str, reason: str) -> str:
    """How to bring a deleted run back; one of an id that the store does not know is gone."""
    named = re.search(r"[Rr]un (?:')?([0-9a-f]{32})", reason)
    if named is None:
        return "restore it in MLflow's page, or run again: what is done stays done"
    return f"{mlflow_command(uri, 'runs', 'restore', '--run-id', named[1])}; or run again: what is done stays done"


def _first_line(error: Exception) -> str:
    # SQLAlchemy puts words of its own before the database's.
    error = getattr(error.__cause__, "orig", None) or error
    return first_line(error)[:300]


def _way_out(uri: str, reason: str) -> str:
    if is_remote(uri):
        return "start the server or mend MLFLOW_TRACKING_URI; unset it to use the store in this project"
    # SQLite's own words (sqlite.org/rescode.html).
    if "is locked" in reason:
        return "wait until the other process has released the database, and run again"
    if "is full" in reason:
        return "free some disk space, and run again"
    return "look in the system's log whether the disk fails, then run again; `modelworks doctor` examines the database"

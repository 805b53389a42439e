"""Convert exceptions of MLflow to errors of modelworks."""

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

__all__ = ["is_outage", "is_remote", "maps_tracking_errors", "mlflow_command", "tracking_errors"]

P = ParamSpec("P")
R = TypeVar("R")


def is_remote(uri: str) -> bool:
    """Return whether a tracking URI is that of a server."""
    return uri.startswith(("http://", "https://"))


def mlflow_command(uri: str, *words: str) -> str:
    """Return an MLflow command that runs as printed, with the URI of an embedded store.

    Another store is in the user's MLFLOW_TRACKING_URI already.
    """
    command = shlex.join(["mlflow", *words])
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {command}" if uri.startswith("sqlite:") else command


def maps_tracking_errors(
    function: Callable[Concatenate[MlflowClient, P], R],
) -> Callable[Concatenate[MlflowClient, P], R]:
    """Decorate a function of a client with `tracking_errors`."""

    @wraps(function)
    def wrapped(client: MlflowClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with tracking_errors(client.tracking_uri):
            return function(client, *args, **kwargs)

    return wrapped


@contextmanager
def tracking_errors(uri: str) -> Iterator[None]:
    """Convert outages to `Unavailable`, and rejected credentials and deleted runs to `BadInput`.

    Other exceptions of MLflow are bugs and are not converted.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        with disk_errors(Path(uri.removeprefix("sqlite:///"))):
            yield
    except MlflowException as error:
        reason = _first_line(error)
        if error.error_code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            raise _credentials_error(uri, reason) from error
        if any(words in reason for words in DELETED):
            raise BadInput(
                f"{uri}: the run, or its experiment, was deleted: {reason}",
                _restore(uri, reason),
                code="mlflow.deleted",
            ) from error
        if is_outage(error, uri):
            raise Unavailable(
                f"{_store_name(uri)} does not answer: {reason}", _hint(uri, reason), code="mlflow.unavailable"
            ) from error
        raise
    except RequestException as error:
        # The client raises this only for artifacts, and MlflowException otherwise.
        if error.response is not None and error.response.status_code in (401, 403):
            raise _credentials_error(uri, _first_line(error)) from error
        reason = _first_line(error)
        raise Unavailable(
            f"{_store_name(uri)} does not answer: {reason}", _hint(uri, reason), code="mlflow.unavailable"
        ) from error


def is_outage(error: Exception, uri: str) -> bool:
    """Return whether the store was not reachable or usable, so that a retry may succeed."""
    # The client reports a broken connection as an internal error, as a failed server does.
    codes = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR") if is_remote(uri) else ("TEMPORARILY_UNAVAILABLE",)
    return getattr(error, "error_code", None) in codes


def _store_name(uri: str) -> str:
    return f"the MLflow server {uri}" if is_remote(uri) else uri


def _credentials_error(uri: str, reason: str) -> BadInput:
    return BadInput(
        f"{uri} refuses: {reason}",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ask for the permission",
        code="mlflow.refused",
    )


def _restore(uri: str, reason: str) -> str:
    """Return the hint to restore a deleted run."""
    match = re.search(r"[Rr]un (?:')?([0-9a-f]{32})", reason)
    if match is None:
        return "restore it in MLflow's UI, or run again: finished stages are kept"
    return f"{mlflow_command(uri, 'runs', 'restore', '--run-id', match[1])}; or run again: finished stages are kept"


def _first_line(error: Exception) -> str:
    # SQLAlchemy prefixes the database's message.
    error = getattr(error.__cause__, "orig", None) or error
    return first_line(error)[:300]


def _hint(uri: str, reason: str) -> str:
    if is_remote(uri):
        return "start the server or correct MLFLOW_TRACKING_URI; unset it to use the store in this project"
    # SQLite's messages (sqlite.org/rescode.html).
    if "is locked" in reason:
        return "wait until the other process has released the database, and run again"
    if "is full" in reason:
        return "free some disk space, and run again"
    return "check the system's log for disk errors, then run again; `modelworks doctor` checks the database"

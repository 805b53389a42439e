"""Create a resource at most once, even if the server's reply is lost."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from modelworks.registry.backend.error_mapping import is_outage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient

__all__ = ["created", "sent_once"]

R = TypeVar("R")

PAUSE_SECONDS = 0.5
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_ENVIRONMENT = threading.Lock()
"""MLflow reads the number of retries from the environment at every request; only one thread may change it at a time.

Other requests keep their retries: without them, a registration fails behind a proxy that drops single requests.
"""


def created(client: MlflowClient, create: Callable[[], R], find: Callable[[], R | None], *, attempts: int = 1) -> R:
    """Return the result of `create`, or of `find` if the reply was lost.

    MLflow's client repeats every request without a reply, also one that creates a resource, which the server then
    creates twice. So the request is sent once, and its result is searched for.

    Args:
        client: of the store.
        create: sends the request.
        find: searches for the created resource.
        attempts: how often the request is sent while nothing is found. The server may still process the first request
            when it gets the second, so use more than one only if a duplicate does no harm.

    Raises:
        MlflowException: there is an outage and nothing was created, or the store rejects the request.
    """
    from requests import RequestException

    while True:
        attempts -= 1
        try:
            with sent_once():
                return create()
        except Exception as error:  # only errors that may have lost a reply are handled
            if not (isinstance(error, RequestException) or is_outage(error, client.tracking_uri)):
                raise
            found = find()
            if found is not None:
                return found
            if not attempts:
                raise
        time.sleep(PAUSE_SECONDS)


@contextmanager
def sent_once() -> Iterator[None]:
    """Disable retries of MLflow's client in the block."""
    with _ENVIRONMENT:
        before = os.environ.get(RETRIES)
        os.environ[RETRIES] = "0"
        try:
            yield
        finally:
            if before is None:
                del os.environ[RETRIES]
            else:
                os.environ[RETRIES] = before

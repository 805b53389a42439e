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
"""MLflow reads the number of retries from the environment at every request; two threads must not change it at once.

Retries stay on for all else: with them off, a registration behind a proxy that refuses each kind of request once fails.
"""


def created(client: MlflowClient, create: Callable[[], R], find: Callable[[], R | None], *, attempts: int = 1) -> R:
    """Return what `create` makes; when its reply is lost, what `find` finds of it.

    MLflow's client sends every request again whose reply does not come, also one that creates: the server then makes
    two. So the request is sent once, and what became of it is looked up.

    Args:
        client: of the store.
        create: sends the request.
        find: looks for what it makes.
        attempts: how often it is sent while nothing is found. A server may still be at the first when the second
            comes, so more than one is for what does no harm when it is there twice.

    Raises:
        MlflowException: there is an outage and nothing was created, or the store refuses.
    """
    from requests import RequestException

    while True:
        attempts -= 1
        try:
            with sent_once():
                return create()
        except Exception as error:  # only what may have lost an answer is kept
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
    """Let MLflow's client send the requests of a block once each."""
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

"""What is created is created once, though the reply that says so be lost."""

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

__all__ = ["created"]

R = TypeVar("R")

PAUSE_SECONDS = 0.5
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_ENVIRONMENT = threading.Lock()
"""MLflow reads the number of retries from the environment at every request; two threads must not change it at once."""


def created(client: MlflowClient, create: Callable[[], R], find: Callable[[], R | None], *, attempts: int = 1) -> R:
    """What `create` makes; when the answer to it was lost, what `find` finds of it.

    Of its own accord MLflow's client sends every request again whose answer does not come, also one that creates:
    the server then makes two. So the request is sent once, and what became of it is looked up.

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
            with _sent_once():
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
def _sent_once() -> Iterator[None]:
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

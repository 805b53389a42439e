"""Create a resource at most once, even if the server's reply is lost.

`project.ENFORCED` turns off the retries of MLflow's client, which would send a creating request twice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from modelworks.registry.backend.error_mapping import reply_was_lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow import MlflowClient

__all__ = ["created"]

R = TypeVar("R")

PAUSE_SECONDS = 0.5


def created(client: MlflowClient, create: Callable[[], R], find: Callable[[], R | None], *, attempts: int = 1) -> R:
    """Return what `create` makes; when its reply is lost, what `find` finds of it.

    Args:
        client: of the store.
        create: sends the request.
        find: looks for what it makes.
        attempts: how often the request is sent while nothing is found. A server may still work on the first when the
            second arrives, so more than one is for what does no harm when it exists twice.

    Raises:
        MlflowException: there is an outage and nothing was created, or the store refuses.
    """
    while True:
        attempts -= 1
        try:
            return create()
        except Exception as error:  # any error but a lost reply is raised again
            if not reply_was_lost(error, client.tracking_uri):
                raise
            found = find()
            if found is not None:
                return found
            if not attempts:
                raise
        time.sleep(PAUSE_SECONDS)

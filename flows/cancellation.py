"""Notice that a person cancelled this flow run in Prefect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException

__all__ = ["watch_cancellation"]

POLL_SECONDS = 2.0
"""Between two requests; one takes milliseconds."""


@contextmanager
def watch_cancellation(flow_run_id: str) -> Iterator[threading.Event]:
    """Yield an event that is set within seconds after the flow run is cancelled in Prefect.

    Prefect stops the runs of its workers itself. A run of the command line has none: it has to look.
    """
    cancelled, over = threading.Event(), threading.Event()

    def poll() -> None:
        with get_client(sync_client=True) as client:
            while not cancelled.is_set() and not over.wait(POLL_SECONDS):
                with suppress(HTTPError, PrefectException):  # a server that does not answer stops no run
                    state = client.read_flow_run(UUID(flow_run_id)).state
                    if state is not None and (state.is_cancelling() or state.is_cancelled()):
                        cancelled.set()

    threading.Thread(target=poll, daemon=True).start()  # a thread: a slow server delays no stage
    try:
        yield cancelled
    finally:
        over.set()

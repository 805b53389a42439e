"""The trainer's events become curves in MLflow while it trains; a slow or absent server never holds it up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from modelworks.fault_injection import effect
from modelworks.registry.backend.error_mapping import tracking_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Metric

__all__ = ["MetricStream"]

BATCH = 1000
"""Most metrics that MLflow takes in one call."""
GROUPS = {"step": "training", "epoch": "epoch"}
"""The UI draws metrics in one group per prefix."""
NO_METRICS = ("step", "time", "epoch", "seconds_left")
"""Numbers of an event that are no curve."""
LONGEST_WAIT = 30.0
"""Seconds between attempts at a server that stays away."""


class MetricStream:
    """Sends metrics of one run in batches, on a thread of its own.

    `add` only puts an event into memory. What could not be sent is kept and sent again; a step that comes
    twice, as after a resumed training, is sent once.
    """

    def __init__(self, client: MlflowClient, run_id: str, *, seconds: float = 1.0) -> None:
        """`seconds`: how often a batch is sent."""
        self._client, self._run_id, self._seconds = client, run_id, seconds
        self._waiting: list[Metric] = []
        self._seen: set[tuple[str, int]] = set()
        self._closing = threading.Event()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._send_until_closed, name="modelworks-curves", daemon=True)
        self._thread.start()

    def add(self, event: Mapping[str, Any]) -> None:
        """Take one event of the trainer: every number in it that is not its place in time is a metric."""
        with self._guard:
            for metric in _metrics(event):
                if (metric.key, metric.step) not in self._seen:
                    self._seen.add((metric.key, metric.step))
                    self._waiting.append(metric)

    def close(self) -> None:
        """Send what is left.

        What was not sent is lost to the server, not to the trainer's events file.

        Raises:
            BadInput: the server refuses our credentials, or the run was deleted.
            Unavailable: the server is still away.
        """
        self._closing.set()
        self._thread.join()
        with tracking_errors(self._client.tracking_uri):
            while self._send():
                pass

    def _send_until_closed(self) -> None:
        from mlflow.exceptions import MlflowException

        wait = self._seconds
        while not self._closing.wait(wait):
            try:
                while self._send() and not self._closing.is_set():
                    pass
                wait = self._seconds
            except (MlflowException, OSError):  # `close` tries again and says what is wrong
                wait = min(2 * wait, LONGEST_WAIT)

    def _send(self) -> bool:
        """Send one batch; False when there was nothing to send."""
        with self._guard:
            batch = self._waiting[:BATCH]
        if not batch:
            return False
        # A reply that was lost does no harm: the store takes a metric with equal key, step, time and value once.
        with effect("curves.send"):
            self._client.log_batch(self._run_id, metrics=batch)
        with self._guard:
            del self._waiting[: len(batch)]
        return True


def _metrics(event: Mapping[str, Any]) -> Iterator[Metric]:
    from mlflow.entities import Metric

    group = GROUPS.get(str(event.get("type")))
    if group is None:
        return
    step, milliseconds = int(event["step"]), int(float(event["time"]) * 1000)
    for name, value in event.items():
        if name not in NO_METRICS and isinstance(value, int | float) and not isinstance(value, bool):
            yield Metric(f"{group}/{name}", float(value), milliseconds, step)

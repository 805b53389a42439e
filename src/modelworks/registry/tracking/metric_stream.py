"""Send training metrics to MLflow from a background thread."""

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
"""MLflow's limit of metrics per call."""
GROUPS = {"step": "training", "epoch": "epoch"}
"""Metric prefix by event type; the UI groups metrics by prefix."""
NO_METRICS = ("step", "time", "epoch", "seconds_left")
"""Numbers in an event that are not metrics."""
LONGEST_WAIT = 30.0
"""Maximum seconds between attempts during an outage."""


class MetricStream:
    """Sends the metrics of one run in batches from a background thread.

    `add` only appends to a queue. Failed batches are sent again. A step that is added twice, as after a resume, is sent
    once.
    """

    def __init__(self, client: MlflowClient, run_id: str, *, seconds: float = 1.0) -> None:
        """`seconds`: interval between batches."""
        self._client, self._run_id, self._seconds = client, run_id, seconds
        self._queue: list[Metric] = []
        self._seen: set[tuple[str, int]] = set()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._send_until_closed, name="modelworks-curves", daemon=True)
        self._thread.start()

    def add(self, event: Mapping[str, Any]) -> None:
        """Queue the metrics of an event: all its numbers except those in `NO_METRICS`."""
        with self._lock:
            for metric in _metrics(event):
                if (metric.key, metric.step) not in self._seen:
                    self._seen.add((metric.key, metric.step))
                    self._queue.append(metric)

    def close(self) -> None:
        """Send the remaining metrics.

        Metrics that cannot be sent are still in the trainer's events file.

        Raises:
            BadInput: the server rejects the credentials, or the run was deleted.
            Unavailable: the server does not answer.
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
            except (MlflowException, OSError):  # `close` tries again and raises
                wait = min(2 * wait, LONGEST_WAIT)

    def _send(self) -> bool:
        """Send one batch; return False if there was nothing to send."""
        with self._lock:
            batch = self._queue[:BATCH]
        if not batch:
            return False
        # A lost reply does no harm: the store ignores a metric with equal key, step, time and value.
        with effect("curves.send"):
            self._client.log_batch(self._run_id, metrics=batch)
        with self._lock:
            del self._queue[: len(batch)]
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

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from modelworks.errors import BadInput, Unavailable
from modelworks.registry.tracking.metric_stream import MetricStream

if TYPE_CHECKING:
    from modelworks.project import Project

Begin = Callable[[], str]


def step(number: int, loss: float = 0.5) -> dict[str, Any]:
    return {"type": "step", "step": number, "time": 1000.0 + number, "loss": loss, "learning_rate": 0.1}


class Flaky(MlflowClient):
    """A client whose connection can be interrupted."""

    is_down = False
    calls = 0

    def log_batch(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        if self.is_down:
            raise MlflowException("connection refused", error_code=TEMPORARILY_UNAVAILABLE)
        return super().log_batch(*given, **named)


@pytest.fixture
def flaky(project: Project, client: MlflowClient) -> Flaky:
    return Flaky(client.tracking_uri)


def points(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))


def test_events_become_metrics_by_type(client: MlflowClient, begin: Begin) -> None:
    run_id = begin()
    stream = MetricStream(client, run_id)
    stream.add({"type": "start", "time": 1.0, "steps": 9, "resumed_from": 0})
    for number in range(3):
        stream.add(step(number))
    stream.add({"type": "epoch", "step": 3, "epoch": 1, "time": 1004.0, "loss": 0.4, "validation_accuracy": 0.9})
    stream.close()
    assert points(client, run_id, "training/loss") == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert points(client, run_id, "epoch/loss") == [(3, 0.4)]
    assert set(client.get_run(run_id).data.metrics) == {
        "training/loss",
        "training/learning_rate",
        "epoch/loss",
        "epoch/validation_accuracy",
    }
    assert client.get_metric_history(run_id, "training/loss")[0].timestamp == 1_000_000


def test_more_metrics_than_one_call_accepts_are_sent(client: MlflowClient, begin: Begin) -> None:
    run_id = begin()
    stream = MetricStream(client, run_id)
    for number in range(1200):
        stream.add(step(number))
    stream.close()
    assert len(client.get_metric_history(run_id, "training/loss")) == 1200


def test_steps_repeated_after_a_resume_are_sent_once(client: MlflowClient, begin: Begin) -> None:
    run_id = begin()
    stream = MetricStream(client, run_id)
    for number in (0, 1, 2, 1, 2, 3):
        stream.add(step(number))
    stream.close()
    assert [number for number, _ in points(client, run_id, "training/loss")] == [0, 1, 2, 3]


def test_add_ignores_an_outage_and_close_sends_the_queue(flaky: Flaky, begin: Begin) -> None:
    run_id = begin()
    flaky.is_down = True
    stream = MetricStream(flaky, run_id, seconds=0.01)
    number = 0
    while flaky.calls < 2:  # until it has failed twice
        stream.add(step(number))
        number += 1
    flaky.is_down = False
    stream.close()
    assert len(points(flaky, run_id, "training/loss")) == number


def test_close_raises_during_an_outage(flaky: Flaky, begin: Begin) -> None:
    stream = MetricStream(flaky, begin())
    stream.add(step(0))
    flaky.is_down = True
    with pytest.raises(Unavailable, match="connection refused") as caught:
        stream.close()
    assert caught.value.code == "mlflow.unavailable"


@pytest.mark.parametrize("purged", [False, True])
def test_close_raises_when_the_run_was_deleted(client: MlflowClient, begin: Begin, purged: bool) -> None:
    run_id = begin()
    stream = MetricStream(client, run_id)
    client.delete_run(run_id)
    if purged:  # as `mlflow gc` does
        client._tracking_client.store._hard_delete_run(run_id)
    stream.add(step(0))
    with pytest.raises(BadInput, match=run_id) as caught:
        stream.close()
    assert caught.value.code == "mlflow.deleted"

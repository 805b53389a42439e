"""A tracking server that returns errors, loses replies or resets connections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from faults.services.registered_versions import numbers
from pipelines.tracking_server import Fault, LossyProxy
from samples.makings import PROVENANCE

from modelworks.errors import BadInput, Unavailable
from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from modelworks.registry.production import audit_log, promotion
from modelworks.registry.tracking import runs
from modelworks.registry.verification.verify_version import package_folder
from modelworks.registry.versions import queries, registration

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.records import Evaluation, ModelVersion, Verdict

R = TypeVar("R")
WEIGHTS = r"PUT .*model\.safetensors$"
LISTING = r"PUT .*package/files\.json$"


@pytest.fixture
def shared(project: Project, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """Return a project whose tracking server is behind the proxy, with its lock in a temporary home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    # By default MLflow's client waits longer between attempts than the faults of these tests last.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    return Project(project.root, mlflow_uri=proxy.address)


def start_run(client: MlflowClient, shared: Project, name: str) -> str:
    return runs.start(client, shared, experiment=name, parameters={"a": "1"}, prefect_flow_run_id="", prefect_url="")


def register(client: MlflowClient, shared: Project, evaluation: Evaluation, name: str, run_id: str) -> ModelVersion:
    return registration.register(client, shared, evaluation, provenance=PROVENANCE, name=name, key="key", run_id=run_id)


def with_retries(attempt: Callable[[], R]) -> R:
    """Retry after `Unavailable`, as a stage is retried."""
    for _ in range(4):
        try:
            return attempt()
        except Unavailable:
            continue
    return attempt()


@pytest.mark.parametrize(
    "status", [pytest.param(500, marks=pytest.mark.slow), 503, pytest.param(429, marks=pytest.mark.slow)]
)
def test_bursts_of_errors_are_retried_and_nothing_is_created_twice(
    shared: Project,
    proxy: LossyProxy,
    name: str,
    status: Fault,
    evaluate: Callable[..., Evaluation],
    judge: Callable[..., Verdict],
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    proxy.stumbling = {".": status}  # each kind of request fails once
    run_id = with_retries(lambda: start_run(client, shared, name))
    version = with_retries(lambda: register(client, shared, evaluation, name, run_id))
    with_retries(lambda: registration.record_verdict(client, judge(version)))
    named = {"reason": "r", "who": "w", "evidence": {}, "proof": lambda *_: {}}
    with_retries(lambda: promotion.promote(client, shared, name, 1, expected=None, **named))
    with_retries(lambda: runs.finish(client, run_id, "FINISHED"))

    assert len(proxy.faults) > 20
    assert numbers(client, name) == [1]
    assert queries.production(client, name) == 1
    done = [move for move in audit_log.history(client, name) if move.state == "done"]
    assert [(move.number, move.before, move.after) for move in done] == [(1, 0, 1)]
    experiment = client.get_experiment_by_name(name)
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [run_id]


def test_run_whose_reply_was_lost_is_created_once(shared: Project, proxy: LossyProxy, name: str) -> None:
    client = tracking_store.connect(shared)
    proxy.lose("runs/create")
    run_id = start_run(client, shared, name)
    assert proxy.lost["runs/create"] == 1
    experiment = client.get_experiment_by_name(name)
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [run_id]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "request_line", ["POST .*runs/create", "POST .*logged-models$", WEIGHTS, "POST .*model-versions/create"]
)
def test_refused_request_is_reported_and_not_retried(
    shared: Project,
    proxy: LossyProxy,
    name: str,
    request_line: str,
    status: Fault,
    evaluate: Callable[..., Evaluation],
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    proxy.broken = {request_line: status}
    with pytest.raises(BadInput, match=f"{proxy.address} refuses: .*{status}") as caught:
        register(client, shared, evaluation, name, start_run(client, shared, name))
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.hint
    assert list(proxy.faults.values()) == [1]
    proxy.restore()
    assert numbers(client, name) == []


@pytest.mark.parametrize("status", [401, 403])
def test_server_that_refuses_access_is_not_reported_as_unavailable(
    shared: Project, proxy: LossyProxy, status: Fault
) -> None:
    proxy.broken = {".": status}
    with pytest.raises(BadInput, match=f"{proxy.address} refuses: .*{status}") as caught:
        tracking_store.connect(shared)
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.hint
    assert sum(proxy.faults.values()) == 1


def test_upload_is_repeated_after_a_reset_connection(
    shared: Project, proxy: LossyProxy, name: str, evaluate: Callable[..., Evaluation]
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    proxy.stumbling = {"PUT ": "reset"}
    version = register(client, shared, evaluation, name, start_run(client, shared, name))
    assert len(proxy.faults) > 10
    assert numbers(client, name) == [version.version] == [1]
    package_folder(client, shared, name, 1)  # fetches the package and verifies every file


@pytest.mark.parametrize(
    ("request_line", "fault"),
    [
        (WEIGHTS, "halved"),
        (LISTING, "reset"),
        pytest.param(WEIGHTS, "reset", marks=pytest.mark.slow),
        pytest.param(LISTING, "halved", marks=pytest.mark.slow),
    ],
)
def test_package_with_a_failed_upload_is_not_registered(
    shared: Project, proxy: LossyProxy, name: str, request_line: str, fault: Fault, evaluate: Callable[..., Evaluation]
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    run_id = start_run(client, shared, name)
    proxy.broken = {request_line: fault}
    with pytest.raises(Unavailable, match=proxy.address):
        register(client, shared, evaluation, name, run_id)
    assert proxy.faults
    assert numbers(client, name) == []
    proxy.restore()
    register(client, shared, evaluation, name, run_id)
    assert numbers(client, name) == [1]
    package_folder(client, shared, name, 1)

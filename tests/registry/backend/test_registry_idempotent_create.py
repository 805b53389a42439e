"""Lost replies of the tracking server create no duplicates."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from pipelines.tracking_server import LossyProxy
from samples.makings import PROVENANCE

from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from modelworks.registry.production import audit_log, promotion
from modelworks.registry.tracking import runs, tags
from modelworks.registry.versions import queries, registration

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from modelworks.records import Evaluation


@pytest.fixture
def shared(project: Project, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """A project whose tracking server is behind the proxy, with its own home for the lock."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return Project(project.root, mlflow_uri=proxy.address)


@pytest.fixture
def name(shared: Project) -> str:
    """A new model with two accepted versions; tests share the server."""
    client, name = tracking_store.connect(shared), f"model-{uuid.uuid4().hex[:8]}"
    client.create_registered_model(name)
    for _ in range(2):
        create_version(client, name)
    return name


def create_version(client: MlflowClient, name: str) -> None:
    """Create a version with MLflow's client. A server requires a source in a run."""
    run_id = client.create_run("0").info.run_id
    client.create_model_version(name, f"runs:/{run_id}/model", run_id, tags={tags.DECISION: "promote"})


def promote(client: MlflowClient, shared: Project, name: str, version: int) -> None:
    """Promote without verification."""
    named = {"reason": "r", "who": "w", "evidence": {}, "proof": lambda *_: {}}
    promotion.promote(client, shared, name, version, expected=queries.production(client, name), **named)


def test_mlflow_client_creates_two_versions(shared: Project, proxy: LossyProxy, name: str) -> None:
    """The reason for `idempotent_create.created`; fails when MLflow changes this."""
    client = tracking_store.connect(shared)
    proxy.lose("model-versions/create")
    create_version(client, name)
    assert proxy.lost["model-versions/create"] == 1
    assert len(client.search_model_versions(f"name = '{name}'")) == 2 + 2


def test_version_is_created_once_when_the_reply_is_lost(
    shared: Project, proxy: LossyProxy, evaluate: Callable[..., Evaluation]
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    run_id = runs.start(client, shared, experiment="lost", parameters={}, prefect_flow_run_id="", prefect_url="")
    proxy.lose("model-versions/create")
    first = registration.register(
        client, shared, evaluation, provenance=PROVENANCE, name="lost", key="a", run_id=run_id
    )
    assert proxy.lost["model-versions/create"] == 1
    again = registration.register(
        client, shared, evaluation, provenance=PROVENANCE, name="lost", key="a", run_id=run_id
    )
    assert (first.version, again) == (1, first)
    assert [int(each.version) for each in client.search_model_versions("name = 'lost'")] == [1]


@pytest.mark.parametrize(
    ("path", "times"),
    [
        ("runs/create", 1),
        ("registered-models/alias", 1),
        ("registered-models/alias", 3),  # MLflow's own client gives up after three
        ("runs/log-batch", 1),
        ("runs/update", 1),
    ],
)
def test_move_is_made_and_logged_once_when_the_reply_is_lost(
    shared: Project, proxy: LossyProxy, name: str, path: str, times: int
) -> None:
    client = tracking_store.connect(shared)
    promote(client, shared, name, 1)
    proxy.lose(path, times)
    promote(client, shared, name, 2)
    assert proxy.lost[path] == times
    assert queries.production(client, name) == 2
    assert [(move.number, move.before, move.after, move.state) for move in audit_log.history(client, name)] == [
        (2, 1, 2, "done"),
        (1, 0, 1, "done"),
    ]

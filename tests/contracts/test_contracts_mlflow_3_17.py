"""Undocumented behaviour of MLflow 3.17 that modelworks depends on."""

from __future__ import annotations

import importlib.metadata
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from modelworks.project import Project
from modelworks.registry.backend import mlflow_internals, tracking_store
from modelworks.registry.backend import mlflow_sqlite_internals as tables
from modelworks.registry.backend.sqlite_fast_path import RegistryState, registry_state
from modelworks.registry.tracking import tags as lineage
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def client(project: Project) -> MlflowClient:
    return tracking_store.connect(project)


@pytest.fixture
def connection(client: MlflowClient, project: Project) -> Iterator[sqlite3.Connection]:
    assert client
    with closing(sqlite3.connect(project.mlflow / "mlflow.db")) as connection:
        yield connection


def test_installed_mlflow_creates_the_expected_revision(tmp_path: Path) -> None:
    tracking_store.build_schema(tmp_path / "new.db")
    assert tables.read_revision(tmp_path / "new.db") == tables.REVISION, importlib.metadata.version("mlflow")


def test_queries_return_what_the_client_returns(client: MlflowClient, project: Project) -> None:
    def expected(key: str) -> RegistryState:
        return RegistryState(version=queries.find(client, "small", key), production=queries.production(client, "small"))

    assert registry_state(project, "small", "key-1") == expected("key-1") == RegistryState(version=None, production=0)
    client.create_registered_model("small")
    for number in (1, 2):
        tags = {lineage.PIPELINE_KEY: f"key-{number}", lineage.DECISION: "promote"}
        client.create_model_version("small", "file:///nowhere", tags=tags)
    client.set_registered_model_alias("small", "production", "1")
    for key in ("key-1", "key-2", "another"):
        assert registry_state(project, "small", key) == expected(key)
    found = registry_state(project, "small", "key-2")
    assert (found.production, found.version and found.version.decision) == (1, "promote")
    client.delete_model_version("small", "2")
    assert registry_state(project, "small", "key-2") == expected("key-2") == RegistryState(version=None, production=1)


def test_has_running_follows_the_status_of_the_run(client: MlflowClient, connection: sqlite3.Connection) -> None:
    experiment = tracking_store.ensure_experiment(client, "small")
    assert not tables.has_running(connection, "small")
    run = client.create_run(experiment)
    assert tables.has_running(connection, "small")
    assert not tables.has_running(connection, "another")
    client.set_terminated(run.info.run_id)
    assert not tables.has_running(connection, "small")


def test_default_experiment_has_the_project_artifact_location(client: MlflowClient, project: Project) -> None:
    assert client.get_experiment("0").artifact_location == f"{(project.mlflow / 'artifacts').as_uri()}/0"


@pytest.mark.parametrize("what", ["run", "experiment"])
def test_messages_about_deleted_runs_and_experiments_are_recognised(client: MlflowClient, what: str) -> None:
    from mlflow.exceptions import MlflowException

    experiment = client.create_experiment("small")
    run = client.create_run(experiment)
    client.delete_run(run.info.run_id) if what == "run" else client.delete_experiment(experiment)
    with pytest.raises(MlflowException) as caught:
        client.set_tag(run.info.run_id, "a", "b") if what == "run" else client.create_run(experiment)
    assert any(words in str(caught.value) for words in mlflow_internals.DELETED)


def test_flavor_has_the_entries_that_are_executed(tmp_path: Path) -> None:
    import mlflow.pyfunc
    import yaml

    serving = tmp_path / mlflow_internals.SERVING
    serving.write_text(
        "from mlflow.models import set_model\nfrom mlflow.pyfunc import PythonModel\n\n\n"
        "class Model(PythonModel):\n"
        "    def predict(self, context, model_input: list[str], params=None) -> list[str]: ...\n\n\n"
        "set_model(Model())\n"
    )
    (tmp_path / "model").mkdir()
    mlflow.pyfunc.save_model(
        str(tmp_path / "package"),
        python_model=str(serving),
        artifacts={"model": str(tmp_path / "model")},
        pip_requirements=[],
    )
    flavor = yaml.safe_load((tmp_path / "package" / "MLmodel").read_text())["flavors"]["python_function"]
    assert {*mlflow_internals.EXECUTED} <= {*flavor}
    assert flavor["loader_module"] == mlflow_internals.EXECUTED["loader_module"]
    assert flavor["artifacts"]["model"]["path"] == mlflow_internals.EXECUTED["artifacts"]["model"]["path"]
    # The other entries do not refer to code of the package.
    known = {"cloudpickle_version", "env", "python_version", "streamable"}
    assert {*flavor} - {*mlflow_internals.EXECUTED} <= known


@pytest.mark.filterwarnings("ignore")  # warnings of MLflow about sources and pandas 3
def test_dataset_schema_equals_that_of_mlflow_data(tmp_path: Path) -> None:
    import mlflow.data
    import pandas as pd

    rows = pd.DataFrame({"id": ["a"], "image": [b"b"], "label": ["c"]})
    own = mlflow.data.from_pandas(rows, source=str(tmp_path / "rows.csv")).to_dict()["schema"]
    ours = mlflow_internals.dataset_schema({"id": "string", "image": "binary", "label": "string"})
    assert json.loads(ours) == json.loads(own)


def test_system_metrics_are_logged(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    monitor = mlflow_internals.system_metrics_monitor(run_id, 0.1, client.tracking_uri)
    monitor.start()
    waiting = threading.Event()
    for _ in range(300):
        if "system/cpu_utilization_percentage" in client.get_run(run_id).data.metrics:
            break
        waiting.wait(0.1)
    monitor.finish()
    assert "system/cpu_utilization_percentage" in client.get_run(run_id).data.metrics

"""Undocumented behaviour of Prefect 3.8 that modelworks depends on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelworks.cli.doctor.prefect_runs_internals import unfinished
from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

RUNS = """
import json
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.states import Completed, Running

@flow
def work(): ...

@task
def step(): ...

with get_client(sync_client=True) as client:
    for state in (Running(), Completed()):
        run = client.create_flow_run(work, state=state)
        client.update_flow_run_labels(run.id, {"who": "me"})
        for inner in (Running(), Completed()):
            child = client.create_task_run(step, flow_run_id=run.id, dynamic_key=inner.name, state=inner)
            if state.name == inner.name == "Running":
                print(json.dumps([str(run.id), str(child.id)]), flush=True)
"""


APP = """
from fastapi.testclient import TestClient
from modelworks.servers.prefect_app_internals import prefect_app

with TestClient(prefect_app(services=False)) as client:
    assert client.get("/api/health").json() is True
    assert client.post("/api/flow_runs/count", json={}).json() == 0
"""


@pytest.mark.slow
def test_app_answers_requests_to_the_api(tmp_path: Path) -> None:
    environment = {**os.environ, **Project(tmp_path).environment()}
    environment.pop("PREFECT_API_URL", None)
    Project(tmp_path).make_private_folders()
    subprocess.run([sys.executable, "-c", APP], env=environment, check=True, timeout=200)


@pytest.mark.slow
def test_query_returns_unfinished_runs(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.make_private_folders()
    server = start_server(project)
    try:
        environment = {**os.environ, **project.environment(), "PREFECT_API_URL": server.wait()}
        result = subprocess.run(
            [sys.executable, "-c", RUNS], env=environment, check=True, capture_output=True, text=True, timeout=200
        )
    finally:
        server.stop()
    flow_run, task_run = json.loads(result.stdout)
    (found,) = unfinished(project.prefect_home / "prefect.db")
    assert (found.id, found.task_runs) == (flow_run, (task_run,))
    assert found.labels["who"] == "me"
    assert datetime.now(UTC) - found.since < timedelta(minutes=10)

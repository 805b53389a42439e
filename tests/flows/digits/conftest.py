"""The first run of the digits: its summary, project and MLflow run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

if TYPE_CHECKING:
    from mlflow.entities import Run
    from pipelines.workspaces import Workspace


@pytest.fixture(scope="session")
def summary(digits: Path) -> dict[str, Any]:
    """Return the JSON object of the first run."""
    return json.loads(digits.with_name("made.json").read_text())["summary"]


@pytest.fixture
def finished(copy: Callable[[Path], Workspace], digits: Path) -> Workspace:
    """Return the project after that run; no Prefect server is running."""
    return copy(digits)


@pytest.fixture
def run(finished: Workspace, summary: dict[str, Any]) -> Run:
    """Return its MLflow run."""
    return finished.client.get_run(summary["mlflow_run_id"])


@pytest.fixture
def server(finished: Workspace) -> Iterator[str]:
    """Return the API address of a Prefect server with the database of the run."""
    server = start_server(Project(finished.root))
    yield server.wait()
    server.stop()

"""Fixtures: one Prefect server for all killed runs, and a new project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server
from modelworks.settings import QUIET


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> None:
    """Set the environment of the project's processes."""
    # Projects are restored, so database connections must not be reused.
    os.environ.update(QUIET, MLFLOW_SQLALCHEMYSTORE_POOLCLASS="NullPool")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API URL of a Prefect server."""
    project = Project(tmp_path_factory.mktemp("server"))
    project.make_private_folders()
    server = start_server(project)
    yield server.wait()
    server.stop()


@pytest.fixture
def made(tmp_path: Path) -> Project:
    """A new project with a tracking store."""
    from modelworks.registry.backend.tracking_store import connect

    project = Project(tmp_path / "project")
    (project.root / "configs").mkdir(parents=True)
    project.make_private_folders()
    connect(project)
    return project

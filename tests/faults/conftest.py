"""One Prefect server for all runs that are killed here, and what a killed pipeline's tests begin with."""

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
    """As every process of the project starts."""
    # Projects are put back here: no connection may outlive the file it was opened for.
    os.environ.update(QUIET, MLFLOW_SQLALCHEMYSTORE_POOLCLASS="NullPool")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a Prefect server."""
    project = Project(tmp_path_factory.mktemp("server"))
    project.make_private_folders()
    server = start_server(project)
    yield server.wait()
    server.stop()


@pytest.fixture
def made(tmp_path: Path) -> Project:
    """A project with a tracking store, in which nothing has run."""
    from modelworks.registry.backend.tracking_store import connect

    project = Project(tmp_path / "project")
    (project.root / "configs").mkdir(parents=True)
    project.make_private_folders()
    connect(project)
    return project

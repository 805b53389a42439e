"""Fixtures: settings for killed runs, and a new project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelworks.project import Project
from modelworks.settings import QUIET


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> None:
    """Set the environment of the project's processes."""
    # Projects are restored, so database connections must not be reused.
    os.environ.update(QUIET, MLFLOW_SQLALCHEMYSTORE_POOLCLASS="NullPool")


@pytest.fixture
def made(tmp_path: Path) -> Project:
    """A new project with a tracking store."""
    from modelworks.registry.backend.tracking_store import connect

    project = Project(tmp_path / "project")
    (project.root / "configs").mkdir(parents=True)
    project.make_private_folders()
    connect(project)
    return project

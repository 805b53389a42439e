"""A project with two data sets, pinned and pushed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from data.versioning.versioned import DIGITS, REVIEWS, write_reviews

from modelworks.data.ingest import ingest
from modelworks.project import Project


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with two data sets, pinned and pushed. Tests use copies."""
    root = tmp_path_factory.mktemp("ready")
    write_reviews(root)
    project = Project(root)
    assert ingest(project, DIGITS)[1] == "ran"
    assert ingest(project, REVIEWS)[1] == "ran"
    return root


@pytest.fixture
def project(ready: Path, tmp_path: Path) -> Project:
    shutil.copytree(ready, tmp_path / "project")
    return Project(tmp_path / "project")

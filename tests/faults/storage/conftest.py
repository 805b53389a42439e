"""A store on a small disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def store(made: Project) -> tuple[Project, MlflowClient]:
    from modelworks.registry.backend.tracking_store import connect

    return made, connect(made)

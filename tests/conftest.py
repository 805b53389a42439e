"""Fixtures for all tests: an environment without services and projects of the user, and an empty project."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from modelworks.project import Project

pytest_plugins = ("pipelines.pipeline_fixtures",)

# A shell starts a background job with SIGINT ignored, and the commands that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_project_or_service_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELWORKS_PROJECT", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "MODELWORKS_LOCK_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project: a folder with configs/."""
    root = tmp_path / "project"
    (root / "configs").mkdir(parents=True)
    return Project(root)

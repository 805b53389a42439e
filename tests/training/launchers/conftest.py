"""The output of an uninterrupted training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from training.launchers.local_trainings import run

from modelworks.training.job import Job


@pytest.fixture(scope="session")
def uninterrupted(make_job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of an uninterrupted training."""
    return run(make_job(tmp_path_factory.mktemp("uninterrupted") / "work"))[1]

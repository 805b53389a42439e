"""A project that runs an editable copy of the library."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import modelworks

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace


@pytest.fixture
def own_code(tmp_path: Path, after_digits: Workspace) -> tuple[Workspace, Path]:
    """Return a project that runs an editable copy of the library, and the copy's path."""
    source = tmp_path / "src"
    shutil.copytree(Path(modelworks.__path__[0]), source / "modelworks", ignore=shutil.ignore_patterns("__pycache__"))
    path = ":".join([str(source), *filter(None, [after_digits.environment.get("PYTHONPATH")])])
    return after_digits.with_environment(PYTHONPATH=path), source / "modelworks"

"""A config file with a given text."""

from __future__ import annotations

from pathlib import Path

import pytest
from config.configs import PLAIN


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plain.yaml"
    path.write_text(PLAIN)
    return path

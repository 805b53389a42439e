"""Use one thread, because other tests run on the machine; and save a small model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from models.saved_models import save

from modelworks.models import cnn


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model", Path(cnn.__file__))
    return tmp_path / "model"

"""A loaded package."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from registry.packaging.packages import load_model
from samples.artifacts import local_path

from modelworks.records import Evaluation
from modelworks.registry.packaging import upload

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def load(
    client: MlflowClient, begin: Callable[[], str], evaluate: Callable[..., Evaluation], tmp_path: Path
) -> Callable[..., tuple[Any, Evaluation, Path]]:
    """A loaded package, the evaluation it came from, and its folder."""

    def make(seed: int = 0, modality: str = "image") -> tuple[Any, Evaluation, Path]:
        evaluation = evaluate(seed, modality)
        source = local_path(upload.log(client, begin(), evaluation).source)
        folder = Path(shutil.copytree(source, tmp_path / f"package-{seed}"))
        return load_model(folder), evaluation, folder

    return make

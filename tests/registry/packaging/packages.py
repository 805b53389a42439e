"""Loading of packages, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelworks.data import dataset_format
from modelworks.records import Evaluation


def load_model(folder: Path) -> Any:
    import mlflow.pyfunc  # the import warns, which is only allowed inside a test

    return mlflow.pyfunc.load_model(str(folder))


def contents_of(evaluation: Evaluation, rows: int = 5) -> list[Any]:
    dataset = evaluation.trained.report.dataset
    return list(dataset_format.read(dataset.folder)[dataset.modality].to_pylist()[:rows])

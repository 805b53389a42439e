"""The score stage: predictions and metrics with confidence intervals of a trained model."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING

from modelworks.files.digest_memo import DigestMemo
from modelworks.records import Evaluation, TrainedModel

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.evaluation.config import EvaluateConfig
    from modelworks.evaluation.inference import Predictions
    from modelworks.records import ValidationReport

__all__ = ["evaluate", "preload"]


def preload() -> None:
    """Import the libraries of an evaluation ahead of time, which takes seconds."""
    for name in (
        "torch",
        "matplotlib.figure",
        "modelworks.evaluation.statistics.intervals",
        "modelworks.evaluation.reports.evaluation_report",
    ):
        importlib.import_module(name)


def evaluate(trained: TrainedModel, config: EvaluateConfig, folder: Path, final: Path, key: str) -> Evaluation:
    """Predict the test rows once and compute the metrics.

    Args:
        trained: the model and the validated data it was trained on.
        config: confidence and resamples.
        folder: for `predictions.parquet`, `baseline.parquet` and `near_duplicates.json`.
        final: the folder's later path, stored in the record.
        key: of the score stage.

    Raises:
        Corrupt: the model or the data are damaged.
        Refused: the model's predictions are not finite numbers.
    """
    from modelworks.evaluation import inference
    from modelworks.evaluation.near_duplicates import search
    from modelworks.evaluation.statistics.intervals import intervals

    rows = inference.held_out(trained.report)
    # The model's files were hashed when they were stored; unchanged files are not read again.
    memo = DigestMemo(trained.folder.parents[1])
    predictions = inference.score(trained.model_folder, rows, memo.digest)
    inference.write(predictions, folder)
    trivial = _trivial(trained.report, predictions)
    inference.write(trivial, folder, inference.BASELINE)
    search.write(search.find(trained.report, predictions), folder)
    return Evaluation(
        trained=trained,
        key=key,
        folder=final,
        rows=len(predictions.rows),
        metrics=intervals(predictions.objective, predictions.predicted, predictions.truth, config),
        baseline=predictions.objective.point_estimates(trivial.predicted, trivial.truth),
    )


def _trivial(report: ValidationReport, predictions: Predictions) -> Predictions:
    """Return predictions of the trivial baseline, fitted to the training targets."""
    import numpy as np

    from modelworks.data import dataset_format
    from modelworks.data.splits import TRAIN

    objective, dataset = predictions.objective, report.dataset
    chosen = np.flatnonzero(np.load(report.folder / "splits.npy", allow_pickle=False) == TRAIN)
    table = dataset_format.read(dataset.folder, list(dataset.targets)).take(chosen)
    training = objective.encode({name: table[name].to_pylist() for name in dataset.targets})
    return replace(predictions, predicted=objective.baseline(training, len(predictions.rows)))

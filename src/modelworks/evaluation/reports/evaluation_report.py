"""The evaluation page: what a person looks at after `score`.

    report.html             everything below on one page
    confusion_matrix.png    counts, coloured by share
    calibration.png         how far the model's probabilities can be believed
    per_class.csv           precision, recall, F1 and rows of each class
    worst_mistakes.png      of images: the surest mistakes; of texts worst_mistakes.csv

A worst_mistakes file is there only where there are mistakes.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from modelworks.evaluation import inference
from modelworks.evaluation.metrics.classification import tally
from modelworks.evaluation.near_duplicates import search
from modelworks.evaluation.reports import evaluation_page, plots
from modelworks.evaluation.reports.plot_style import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelworks.evaluation.config import EvaluateConfig
    from modelworks.evaluation.inference import Predictions, TestSet
    from modelworks.evaluation.near_duplicates.search import NearDuplicates
    from modelworks.records import DatasetVersion, Evaluation, Interval

__all__ = ["render", "write"]

LONGEST = 280
"""Characters of a text that are shown."""


def render(evaluation: Evaluation, config: EvaluateConfig, folder: Path) -> None:
    """Fill an empty folder from the stored predictions and the test rows.

    Raises:
        Corrupt: the predictions or the data are damaged.
    """
    report = evaluation.trained.report
    rows, predictions = inference.held_out(report), inference.read(evaluation.folder)
    repeated = search.read(evaluation.folder)
    write(folder, report.dataset, rows, predictions, evaluation.metrics, repeated, config)


def write(
    folder: Path,
    dataset: DatasetVersion,
    rows: TestSet,
    predictions: Predictions,
    metrics: Mapping[str, Interval],
    repeated: NearDuplicates,
    config: EvaluateConfig,
) -> None:
    """Fill an empty folder."""
    classes = dataset.classes
    drawn = {"Confusion matrix": folder / "confusion_matrix.png", "Calibration": folder / "calibration.png"}
    plots.confusion(predictions, classes, drawn["Confusion matrix"])
    plots.calibration(predictions, config.confidence, drawn["Calibration"])
    per_class = _per_class(predictions, classes)
    _write_csv(folder / "per_class.csv", per_class)

    worst = _worst(predictions, config.worst)
    wrong = int((predictions.labels != predictions.predicted).sum())
    texts: list[dict[str, Any]] = []
    if worst and dataset.modality == "image":
        drawn = {"Worst mistakes": folder / "worst_mistakes.png", **drawn}
        images: list[bytes] = [rows.contents[row] for row in worst]  # type: ignore[misc]  # a modality has one type
        plots.mistakes(predictions, worst, images, classes, drawn["Worst mistakes"], name="Worst mistakes", among=wrong)
    elif worst:
        texts = [_mistake(predictions, row, str(rows.contents[row]), classes) for row in worst]
        _write_csv(folder / "worst_mistakes.csv", texts)

    subtitle = f"{wrong or 'No'} mistake{'' if wrong == 1 else 's'} among {len(predictions.rows):,} test rows"
    html = evaluation_page.render(f"{dataset.name}: evaluation", subtitle, metrics, per_class, texts, repeated, drawn)
    (folder / "report.html").write_text(html, encoding="utf-8")


def _per_class(predictions: Predictions, classes: Sequence[str]) -> list[dict[str, Any]]:
    counted = tally(predictions.labels, predictions.predicted, len(classes))
    return [
        {"class": name, "rows": int(rows), "precision": float(precision), "recall": float(recall), "f1": float(f1)}
        for name, rows, precision, recall, f1 in zip(
            classes, counted.actual, counted.precision, counted.recall, counted.f1, strict=True
        )
    ]


def _worst(predictions: Predictions, most: int) -> list[int]:
    """Places of the mistakes that were made most surely, the surest first."""
    wrong = np.flatnonzero(predictions.labels != predictions.predicted)
    sureness = predictions.probabilities[wrong, predictions.predicted[wrong]]
    return [int(place) for place in wrong[np.argsort(-sureness, kind="stable")][:most]]


def _mistake(predictions: Predictions, row: int, text: str, classes: Sequence[str]) -> dict[str, Any]:
    taken = int(predictions.predicted[row])
    return {
        "text": cut(text, LONGEST),
        "label": classes[predictions.labels[row]],
        "predicted": classes[taken],
        "probability": round(float(predictions.probabilities[row, taken]), 4),
        "id": predictions.ids[row],
    }


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

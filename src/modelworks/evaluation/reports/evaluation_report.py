"""The files of the evaluation page.

    report.html           everything below on one page
    worst_mistakes.png    the rows with the largest errors, for images; worst_mistakes.csv for texts
    NAME.png, NAME.csv    figures and tables of the objective, e.g. confusion_matrix.png, calibration.png, per_class.csv

A worst_mistakes file exists only if there are mistakes.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from modelworks.evaluation import inference
from modelworks.evaluation.near_duplicates import search
from modelworks.evaluation.reports import evaluation_page, plots, previews
from modelworks.objectives.figures import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelworks.evaluation.config import EvaluateConfig
    from modelworks.evaluation.inference import Predictions, TestSet
    from modelworks.evaluation.near_duplicates.search import NearDuplicates
    from modelworks.evaluation.reports.previews import Row
    from modelworks.records import DatasetVersion, Evaluation, Interval

__all__ = ["render", "write"]


def render(evaluation: Evaluation, config: EvaluateConfig, folder: Path) -> None:
    """Write the files into an empty folder from the stored predictions and the test rows.

    Raises:
        Corrupt: the predictions or the data are damaged.
    """
    report = evaluation.trained.report
    rows, predictions = inference.held_out(report), inference.read(evaluation.folder)
    repeated = search.read(evaluation.folder)
    write(folder, report.dataset, rows, predictions, evaluation.metrics, evaluation.baseline, repeated, config)


def write(
    folder: Path,
    dataset: DatasetVersion,
    rows: TestSet,
    predictions: Predictions,
    metrics: Mapping[str, Interval],
    baseline: Mapping[str, float],
    repeated: NearDuplicates,
    config: EvaluateConfig,
) -> None:
    """Write the files into an empty folder."""
    objective = predictions.objective
    drawn: dict[str, Path] = {}
    tables: list[Table] = []
    for figure in objective.report(predictions.predicted, predictions.truth, config.confidence):
        if isinstance(figure, Table):
            tables.append(figure)
            _write_csv(folder / f"{figure.file}.csv", figure.rows)
        else:
            drawn[figure.title] = folder / f"{figure.file}.png"
            plots.draw(figure, config.confidence, drawn[figure.title])

    wrongness = objective.wrongness(predictions.predicted, predictions.truth)
    worst = _worst(wrongness, config.worst)
    shown = previews.with_previews(
        dataset.modality,
        [rows.contents[row] for row in worst],
        [predictions.ids[row] for row in worst],
        objective.describe(predictions.predicted, predictions.truth, worst),
    )
    texts: list[Row] = []
    if shown and shown[0].is_picture:
        drawn = {"Worst mistakes": folder / "worst_mistakes.png", **drawn}
        among = int((wrongness > 0).sum())
        previews.grid(shown, drawn["Worst mistakes"], name="Worst mistakes", among=among)
    elif shown:
        texts = shown
        listed = [_mistake(row, wrongness[place]) for row, place in zip(shown, worst, strict=True)]
        _write_csv(folder / "worst_mistakes.csv", listed)

    score = objective.row_scores(predictions.predicted, predictions.truth).mean()
    html = evaluation_page.render(
        f"{dataset.name}: evaluation",
        f"{len(predictions.rows):,} test rows; {objective.row_metric} {score:.4f}",
        metrics,
        baseline,
        tables,
        texts,
        repeated,
        drawn,
    )
    (folder / "report.html").write_text(html, encoding="utf-8")


def _worst(wrongness: np.ndarray[Any, Any], most: int) -> list[int]:
    """Return the indices of the rows with the largest errors, the worst first."""
    wrong = np.flatnonzero(wrongness > 0)
    return [int(place) for place in wrong[np.argsort(-wrongness[wrong], kind="stable")][:most]]


def _mistake(row: Row, wrongness: float) -> dict[str, Any]:
    return {
        "text": row.preview,
        "truth": row.truth,
        "answer": row.answer,
        "wrongness": round(float(wrongness), 4),
        "id": row.id,
    }


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

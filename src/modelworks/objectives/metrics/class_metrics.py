"""Metrics of single-label classification from counts, probabilities and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..row_statistics import Metric, RowStatistics
from .calibration import BINS, equal_bins
from .class_counts import ClassCounts, macro_metric, ratio
from .ranking import average_precision, roc_auc

__all__ = ["MACRO", "METRICS", "OF_POSITIVE", "evaluate", "rank", "statistics"]

MACRO = ("balanced_accuracy", "macro_f1", "macro_precision", "macro_recall")

METRICS: Mapping[str, Metric] = {
    "macro_f1": Metric(better="max", group="counts"),
    "accuracy": Metric(better="max", group="hits", form="proportion"),
    **{name: Metric(better="max", group="counts") for name in MACRO if name != "macro_f1"},
    "log_loss": Metric(better="min", group="log_loss", form="mean", highest=None),
    "calibration_error": Metric(better="min", group="calibration"),
    "roc_auc": Metric(better="max", group="ranking", form="rank"),
    "average_precision": Metric(better="max", group="ranking", form="rank"),
}
"""`roc_auc` and `average_precision` are those of the positive class; without one, of the second of two classes, or the
one-vs-rest mean."""

OF_POSITIVE: Mapping[str, Metric] = {
    name: Metric(better="max", group="counts") for name in ("positive_f1", "positive_precision", "positive_recall")
}
"""Metrics of the class that is configured as positive."""

Array = npt.NDArray[Any]

DENSE = 2**10
"""Maximum cells of a dense matrix; for a larger one a sparse product takes half the time."""


def statistics(group: str, labels: Array, answers: Array, probabilities: Array) -> RowStatistics:
    """Return the row statistics of a group of metrics.

    Args:
        group: hits, counts, log_loss or calibration.
        labels: (rows,), the true classes.
        answers: (rows,), the predicted classes.
        probabilities: (rows, classes).
    """
    match group:
        case "hits":
            return RowStatistics(values=np.array([[1.0, 1.0], [0.0, 1.0]]), of_row=(labels != answers).astype(np.int64))
        case "counts":
            return _counts(labels, answers, probabilities.shape[1])
        case "calibration":
            return _calibration(labels == answers, probabilities.max(axis=1).astype(np.float64))
    return RowStatistics(values=_log_losses(labels, probabilities)[:, None], of_row=np.arange(len(labels)))


def evaluate(group: str, sums: Array, positive: int | None) -> dict[str, Array]:
    """Compute the metrics of a group: sums (..., k) to values (...)."""
    if group == "hits":
        return {"accuracy": ratio(sums[..., 0], sums[..., 1])}
    if group == "calibration":
        sure, hits, rows = np.split(sums, 3, axis=-1)
        return {"calibration_error": ratio(np.abs(hits - sure).sum(axis=-1), rows.sum(axis=-1))}
    hits, actual, predicted = np.split(sums, 3, axis=-1)
    counts = ClassCounts(hits=hits, actual=actual, predicted=predicted)
    found: dict[str, Array] = {name: macro_metric(name, counts) for name in MACRO}
    if positive is not None:
        found |= {
            "positive_f1": counts.f1[..., positive],
            "positive_precision": counts.precision[..., positive],
            "positive_recall": counts.recall[..., positive],
        }
    return found


def rank(metric: str, labels: Array, probabilities: Array, counts: Array, positive: int | None) -> Array:
    """Compute a metric of the order of probabilities: counts (resamples, rows) to (resamples,)."""
    of_class, chance = (roc_auc, 0.5) if metric == "roc_auc" else (average_precision, 0.0)
    classes = probabilities.shape[1]
    if positive is None and classes == 2:
        positive = 1
    chosen = range(classes) if positive is None else (positive,)
    values = np.stack([of_class(probabilities[:, each], labels == each, counts) for each in chosen])
    # A resample may lack a class, whose value is then NaN and left out of the mean.
    known = ~np.isnan(values)
    return np.where(
        known.any(axis=0), np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), chance
    )


def _counts(labels: Array, answers: Array, classes: int) -> RowStatistics:
    """Use one kind per pair of true and predicted class, with counts per class as statistics."""
    pairs, of_row = np.unique(labels.astype(np.int64) * classes + answers, return_inverse=True)
    label, answer = np.divmod(pairs, classes)
    hit = np.flatnonzero(label == answer)
    kinds = np.arange(len(pairs))
    rows = np.concatenate([hit, kinds, kinds])
    columns = np.concatenate([label[hit], classes + label, 2 * classes + answer])
    return RowStatistics(values=_matrix(rows, columns, np.ones(len(rows)), (len(pairs), 3 * classes)), of_row=of_row)


def _calibration(right: Array, sure: Array) -> RowStatistics:
    """Use probability, hit and 1 in the columns of each row's bin; bins are those of all rows."""
    bin_of = np.empty(len(sure), dtype=np.int64)
    for number, members in enumerate(equal_bins(sure)):
        bin_of[members] = number
    rows = np.arange(len(sure))
    columns = np.concatenate([bin_of, BINS + bin_of, 2 * BINS + bin_of])
    values = np.concatenate([sure, right.astype(np.float64), np.ones(len(sure))])
    return RowStatistics(values=_matrix(np.tile(rows, 3), columns, values, (len(sure), 3 * BINS)), of_row=rows)


def _matrix(rows: Array, columns: Array, values: Array, shape: tuple[int, int]) -> Any:
    if shape[0] * shape[1] <= DENSE:
        dense = np.zeros(shape)
        dense[rows, columns] = values
        return dense
    from scipy.sparse import csr_array  # slow import

    return csr_array((values, (rows, columns)), shape=shape)


def _log_losses(labels: Array, probabilities: Array) -> Array:
    """Return -log of the true class's probability (rows,), clipped at the dtype's epsilon."""
    own = probabilities[np.arange(len(labels)), labels]
    smallest = np.finfo(probabilities.dtype).eps
    losses: Array = -np.log(np.clip(own, smallest, 1 - smallest).astype(np.float64))
    return losses

"""Precision, recall and F1 from counts per class.

Macro averages are over the classes that occur in labels or predictions, as in scikit-learn with `zero_division=0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ClassCounts", "count", "count_labels", "macro_metric", "ratio"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCounts:
    """Counts per class; every array is (..., classes)."""

    hits: Counts
    """Rows of the class that were predicted as the class (true positives)."""
    actual: Counts
    """Rows of the class."""
    predicted: Counts
    """Rows that were predicted as the class."""

    @property
    def recall(self) -> Floats:
        """hits / actual, 0 for a class without rows."""
        return ratio(self.hits, self.actual)

    @property
    def precision(self) -> Floats:
        """hits / predicted, 0 for a class without predictions."""
        return ratio(self.hits, self.predicted)

    @property
    def f1(self) -> Floats:
        """The harmonic mean of precision and recall."""
        return ratio(2 * self.hits, self.actual + self.predicted)

    @property
    def occurring(self) -> npt.NDArray[np.bool_]:
        """Whether a class occurs in labels or predictions."""
        return np.asarray((self.actual + self.predicted) > 0)


def count(labels: Counts, predicted: Counts, classes: int, weights: Counts | None = None) -> ClassCounts:
    """Count rows by class.

    Args:
        labels: (rows,), indices below `classes`.
        predicted: (rows,), likewise.
        classes: the number of classes.
        weights: (rows,), how often each row occurs; None for once.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    hits = labels == predicted
    return ClassCounts(
        hits=np.bincount(labels[hits], weights=weights[hits], minlength=classes),
        actual=np.bincount(labels, weights=weights, minlength=classes),
        predicted=np.bincount(predicted, weights=weights, minlength=classes),
    )


def count_labels(wanted: Counts, predicted: Counts) -> ClassCounts:
    """Count rows by label, where a row has any number of them: uint8 (rows, labels), 1 for a label."""
    return ClassCounts(
        hits=(wanted & predicted).sum(axis=0), actual=wanted.sum(axis=0), predicted=predicted.sum(axis=0)
    )


def macro_metric(name: str, counts: ClassCounts) -> Floats:
    """Compute a macro average over classes: (..., classes) to (...)."""
    match name:
        case "balanced_accuracy":
            return _mean(counts.recall, counts.actual > 0)
        case "macro_f1":
            return _mean(counts.f1, counts.occurring)
        case "macro_precision":
            return _mean(counts.precision, counts.occurring)
        case "macro_recall":
            return _mean(counts.recall, counts.occurring)
    raise ValueError(name)


def ratio(part: Counts, of: Counts) -> Floats:
    """Return part / of, and 0 where `of` is 0."""
    quotient: Floats = np.divide(
        part, of, out=np.zeros(np.broadcast_shapes(np.shape(part), np.shape(of))), where=of > 0
    )
    return quotient


def _mean(values: Floats, included: npt.NDArray[np.bool_]) -> Floats:
    return ratio((values * included).sum(-1), included.sum(-1).astype(np.float64))

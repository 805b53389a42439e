"""How good predictions are, from three counts per class: right answers, true members, answers given.

Every figure but the log loss is a function of those counts, so thousands of bootstrap resamples are worked out at once,
without their rows; what does not depend on a resample's counts is worked out once, in `Tallies`.

The figures are scikit-learn's with `zero_division=0`: macro averages run over the classes that occur among labels or
predictions. Importing scikit-learn would cost more than the whole evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from modelworks.evaluation.config import Metric

__all__ = ["ClassCounts", "Tallies", "confusion_matrix", "log_losses", "metric_value", "tally"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Counts = Floats | npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCounts:
    """What is counted of each class; every array is (..., classes)."""

    hits: Counts
    """Rows of the class that were recognised."""
    actual: Counts
    """Rows of the class."""
    predicted: Counts
    """Rows that were taken for the class."""

    @property
    def recall(self) -> Floats:
        return _ratio(self.hits, self.actual)

    @property
    def precision(self) -> Floats:
        return _ratio(self.hits, self.predicted)

    @property
    def f1(self) -> Floats:
        return _ratio(2 * self.hits, self.actual + self.predicted)


class Tallies:
    """What `tally` counts, of any number of resamples of the same rows."""

    def __init__(self, labels: Integers, predictions: Integers, classes: int) -> None:
        """Args as those of `tally`."""
        rows = np.arange(len(labels))
        self._hits = _Groups(labels, rows[labels == predictions], classes)
        self._actual = _Groups(labels, rows, classes)
        self._predicted = _Groups(predictions, rows, classes)

    def of(self, counts: Counts) -> ClassCounts:
        """The tally of each resample; counts are (..., rows), how often each row occurs."""
        return ClassCounts(
            hits=self._hits.sums(counts), actual=self._actual.sums(counts), predicted=self._predicted.sums(counts)
        )


def tally(labels: Integers, predictions: Integers, classes: int, counts: Counts | None = None) -> ClassCounts:
    """Count rows, or weigh them.

    Args:
        labels: (rows,), indices below `classes`.
        predictions: (rows,), likewise.
        classes: how many there are.
        counts: (rows,), how often each row occurs; left out for once each.
    """
    return Tallies(labels, predictions, classes).of(np.ones(len(labels)) if counts is None else counts)


def metric_value(metric: Metric, counted: ClassCounts) -> Floats:
    """The metric of each tally: (...), without the classes' axis."""
    occurring = (counted.actual + counted.predicted) > 0
    match metric:
        case "accuracy":
            return _ratio(counted.hits.sum(-1), counted.actual.sum(-1))
        case "balanced_accuracy":
            return _mean(counted.recall, counted.actual > 0)
        case "macro_f1":
            return _mean(counted.f1, occurring)
        case "macro_precision":
            return _mean(counted.precision, occurring)
        case "macro_recall":
            return _mean(counted.recall, occurring)


def confusion_matrix(labels: Integers, predictions: Integers, classes: int) -> npt.NDArray[np.int64]:
    """(classes, classes) counts: a row per true class, a column per predicted one."""
    cells = labels.astype(np.int64) * classes + predictions
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64, copy=False)


def log_losses(labels: Integers, probabilities: npt.NDArray[np.floating]) -> Floats:
    """-log of the probability that each row's own class was given: (rows,).

    A probability counts as no less than its type's epsilon (1.2e-7 for float32), so that one row stays finite.
    """
    own = probabilities[np.arange(len(labels)), labels]
    smallest = np.finfo(probabilities.dtype).eps
    losses: Floats = -np.log(np.clip(own, smallest, 1 - smallest).astype(np.float64))
    return losses


class _Groups:
    """Rows by their class."""

    def __init__(self, classes_of: Integers, rows: npt.NDArray[np.int64], classes: int) -> None:
        self._classes = classes
        self._members = rows[np.argsort(classes_of[rows], kind="stable")]
        self._present, self._starts = np.unique(classes_of[self._members], return_index=True)

    def sums(self, counts: Counts) -> Counts:
        """(..., rows) summed over the rows of each class: (..., classes)."""
        # Whole rows are added at a time if the counts of each lie side by side, as those of a resample do.
        members = np.take(counts.T, self._members, axis=0)
        sums = np.zeros((self._classes, *members.shape[1:]), dtype=counts.dtype)
        sums[self._present] = np.add.reduceat(members, self._starts, axis=0)
        return sums.T


def _ratio(part: Counts, whole: Counts) -> Floats:
    quotient: Floats = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)
    return quotient


def _mean(values: Floats, included: npt.NDArray[np.bool_]) -> Floats:
    return _ratio((values * included).sum(-1), included.sum(-1).astype(np.float64))

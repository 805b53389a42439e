"""How good predictions are, from three counts per class: right answers, true members, answers given.

Every figure but the log loss is a function of those counts, so thousands of bootstrap resamples are
worked out at once, without their rows. The figures are scikit-learn's with `zero_division=0`: macro averages run over
the classes that occur among labels or predictions. Importing scikit-learn would cost more than the whole evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from modelworks.evaluation.config import Metric

__all__ = ["Tally", "confusion_matrix", "figure", "log_losses", "tally"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """What is counted of each class; every array is (..., classes)."""

    hits: Floats
    """Rows of the class that were recognised."""
    actual: Floats
    """Rows of the class."""
    predicted: Floats
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


def tally(labels: Integers, predictions: Integers, classes: int, counts: Floats | None = None) -> Tally:
    """Count rows, or weigh them.

    Args:
        labels: (rows,), indices below `classes`.
        predictions: (rows,), likewise.
        classes: how many there are.
        counts: (..., rows), how often each row occurs, for any number of resamples at once; left out for once each.
    """
    counts = np.ones(len(labels)) if counts is None else counts
    right = labels == predictions
    return Tally(
        hits=_sum_by(labels[right], counts[..., right], classes),
        actual=_sum_by(labels, counts, classes),
        predicted=_sum_by(predictions, counts, classes),
    )


def figure(metric: Metric, counted: Tally) -> Floats:
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


def _sum_by(groups: Integers, values: Floats, classes: int) -> Floats:
    """(..., rows) summed over the rows of each group: (..., classes)."""
    if values.ndim == 1:
        return np.bincount(groups, weights=values, minlength=classes).astype(np.float64, copy=False)
    sums = np.zeros((classes, len(values)))
    if len(groups):
        members = values.T  # whole rows are added at a time if each lies side by side, as those of a resample do
        if (np.diff(groups) < 0).any():
            order = np.argsort(groups, kind="stable")
            groups, members = groups[order], members[order]
        present, starts = np.unique(groups, return_index=True)
        sums[present] = np.add.reduceat(members, starts, axis=0)
    return sums.T


def _ratio(part: Floats, whole: Floats) -> Floats:
    quotient: Floats = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)
    return quotient


def _mean(values: Floats, included: npt.NDArray[np.bool_]) -> Floats:
    return _ratio((values * included).sum(-1), included.sum(-1).astype(np.float64))

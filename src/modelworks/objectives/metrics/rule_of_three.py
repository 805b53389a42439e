"""Bound the effect of errors that are absent from the test rows.

With no error in n rows, the error rate may still be as high as about 3/n at 95 % (Hanley and Lippman-Hand 1983, JAMA
249:1743). Resampling does not cover this: a class without an error has none in any resample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .class_counts import ClassCounts, Counts, Floats, count

__all__ = ["unseen_cost", "unseen_loss"]

MetricOf = Callable[[ClassCounts], Floats]


def unseen_cost(metric: MetricOf, counts: ClassCounts, confidence: float) -> float:
    """Return a metric's loss if classes without errors had the maximum number of unseen ones.

    The errors are assumed in the rarest of these classes, where they cost most.
    """
    error_free = np.where(counts.hits == counts.actual, counts.actual, 0)
    scenarios = (_with_missed(counts, error_free, confidence), _with_false_alarms(counts, confidence))
    worst = min(float(metric(scenario)) for scenario in scenarios)
    return max(0.0, float(metric(counts)) - worst)


def unseen_loss(
    metric: MetricOf, labels: Counts, candidate: Counts, baseline: Counts, classes: int, confidence: float
) -> float:
    """Return the candidate metric's loss for unseen rows that only the baseline gets right.

    Such rows are assumed in classes that have none among the test rows.

    Args:
        metric: a function of the counts.
        labels: (rows,), the true classes.
        candidate: (rows,), predictions of the candidate.
        baseline: (rows,), predictions of the other model.
        classes: the number of classes.
        confidence: that there are not more such rows.
    """
    counts = count(labels, candidate, classes)
    baseline_right = baseline == labels
    both, baseline_alone = (
        np.bincount(labels, weights=baseline_right & candidate_state, minlength=classes)
        for candidate_state in (candidate == labels, candidate != labels)
    )
    scenario = _with_missed(counts, np.where(baseline_alone == 0, both, 0), confidence)
    return max(0.0, float(metric(counts)) - float(metric(scenario)))


def _with_missed(counts: ClassCounts, error_free: Floats, confidence: float) -> ClassCounts:
    """Return the counts with unseen errors predicted as the most frequent class.

    `error_free` has the number of rows per class in which errors are assumed.
    """
    # Assign the unseen errors class by class, the rarest first.
    order = np.argsort(error_free, kind="stable")
    sizes = error_free[order]
    budget = _most_unseen(sizes.sum(), confidence)
    spent_before = np.cumsum(sizes) - sizes
    missed = np.zeros_like(error_free)
    missed[order] = np.clip(budget - spent_before, 0, sizes)
    return _moved(counts, missed, int(counts.actual.argmax()))


def _with_false_alarms(counts: ClassCounts, confidence: float) -> ClassCounts:
    """Return the counts with rows of the most frequent class predicted as a rare class."""
    most_frequent = int(counts.actual.argmax())
    error_free = (counts.hits == counts.predicted) & (counts.predicted > 0)
    error_free[most_frequent] = False
    if not error_free.any():
        return counts
    rarest = int(np.where(error_free, counts.predicted, np.inf).argmin())
    missed = np.zeros(len(counts.hits))
    unseen = _most_unseen(counts.actual.sum() - counts.actual[rarest], confidence)
    missed[most_frequent] = min(unseen, counts.hits[most_frequent])
    return _moved(counts, missed, rarest)


def _moved(counts: ClassCounts, missed: Floats, predicted_as: int) -> ClassCounts:
    """Return the counts with `missed` hits of each class predicted as another class."""
    predicted = counts.predicted - missed
    predicted[predicted_as] += missed.sum()
    return ClassCounts(hits=counts.hits - missed, actual=counts.actual, predicted=predicted)


def _most_unseen(rows: float, confidence: float) -> float:
    """Return the upper bound of errors in rows that showed none."""
    return float(rows * (1 - (1 - confidence) ** (1 / rows))) if rows else 0.0

"""Bound the effect of errors that are absent from the test rows.

With no error in n rows, the error rate may still be as high as about 3/n at 95 % (Hanley and Lippman-Hand 1983, JAMA
249:1743). Resampling does not cover this: a class without an error has none in any resample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .class_counts import ClassCounts, Counts, Floats, count, count_labels, ratio

__all__ = ["unseen_cost", "unseen_label_cost", "unseen_label_loss", "unseen_loss", "unseen_row_loss"]

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


def unseen_row_loss(candidate: Counts, baseline: Counts, confidence: float) -> float:
    """Return `unseen_loss` of the accuracy; both: bool (rows,), whether that model is right."""
    wrong, baseline_wrong = ((~each).astype(np.int64) for each in (candidate, baseline))
    right = np.zeros(len(candidate), dtype=np.int64)
    return unseen_loss(
        lambda each: ratio(each.hits.sum(-1), each.actual.sum(-1)), right, wrong, baseline_wrong, 2, confidence
    )


def unseen_label_cost(metric: MetricOf, counts: ClassCounts, rows: int, confidence: float) -> float:
    """Return `unseen_cost` of rows with any number of labels; each label is an error or not."""
    missed = np.where(counts.hits == counts.actual, counts.actual, 0)
    false_alarms = np.where(counts.hits == counts.predicted, rows - counts.actual, 0)
    return _label_cost(metric, counts, missed, false_alarms, confidence)


def unseen_label_loss(
    metric: MetricOf, wanted: Counts, candidate: Counts, baseline: Counts, confidence: float
) -> float:
    """Return `unseen_loss` of rows with any number of labels: uint8 (rows, labels)."""
    both = (candidate == wanted) & (baseline == wanted)
    baseline_alone = (candidate != wanted) & (baseline == wanted)
    missed, false_alarms = (
        np.where((baseline_alone & cells).any(axis=0), 0, (both & cells).sum(axis=0))
        for cells in (wanted > 0, wanted == 0)
    )
    return _label_cost(metric, count_labels(wanted, candidate), missed, false_alarms, confidence)


def _label_cost(
    metric: MetricOf, counts: ClassCounts, missed: Counts, false_alarms: Counts, confidence: float
) -> float:
    """Return the loss by unseen missed labels or unseen false alarms, whichever costs more."""
    lost = _rarest_first(missed, confidence)
    given = _rarest_first(np.where(counts.occurring, false_alarms, 0), confidence, counts.actual + counts.predicted)
    scenarios = (
        ClassCounts(hits=counts.hits - lost, actual=counts.actual, predicted=counts.predicted - lost),
        ClassCounts(hits=counts.hits, actual=counts.actual, predicted=counts.predicted + given),
    )
    return max(0.0, float(metric(counts)) - min(float(metric(scenario)) for scenario in scenarios))


def _with_missed(counts: ClassCounts, error_free: Floats, confidence: float) -> ClassCounts:
    """Return the counts with unseen errors predicted as the most frequent class.

    `error_free` has the number of rows per class in which errors are assumed.
    """
    return _moved(counts, _rarest_first(error_free, confidence), int(counts.actual.argmax()))


def _rarest_first(error_free: Counts, confidence: float, size: Counts | None = None) -> Floats:
    """Return the unseen errors assumed in each class, the rarest class first.

    Args:
        error_free: rows of each class in which errors are assumed.
        confidence: that there are no more errors.
        size: by which classes are ordered; `error_free` if left out.
    """
    order = np.argsort(error_free if size is None else size, kind="stable")
    sizes = error_free[order].astype(np.float64)
    budget = _most_unseen(sizes.sum(), confidence)
    spent_before = np.cumsum(sizes) - sizes
    unseen = np.zeros(len(error_free))
    unseen[order] = np.clip(budget - spent_before, 0, sizes)
    return unseen


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

"""What mistakes could cost that the test rows did not happen to show.

With no mistake among n rows, the share of mistakes may still be as high as about 3/n at 95 % (Hanley and Lippman-Hand
1983, JAMA 249:1743). Resampling cannot know: a class without a mistake has none in any resample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modelworks.evaluation.metrics.classification import ClassCounts, Floats, Integers, metric_value, tally

if TYPE_CHECKING:
    from modelworks.evaluation.config import Metric

__all__ = ["cost", "lost"]


def cost(metric: Metric, counted: ClassCounts, confidence: float) -> float:
    """What a metric would lose if classes without a mistake had as many as could have gone unseen.

    They are placed where they cost most: in the rarest of these classes.
    """
    spotless = np.where(counted.hits == counted.actual, counted.actual, 0)
    worse = (_missed(counted, spotless, confidence), _mistaken(counted, confidence))
    worst = min(float(metric_value(metric, scenario)) for scenario in worse)
    return max(0.0, float(metric_value(metric, counted)) - worst)


def lost(
    metric: Metric, labels: Integers, ours: Integers, theirs: Integers, counts: Floats, classes: int, confidence: float
) -> float:
    """What our metric would lose if classes in which theirs was never right alone had as many such rows as could be.

    Args:
        metric: which one.
        labels: (kinds,), of each kind of row.
        ours: (kinds,), our prediction.
        theirs: (kinds,), the other model's.
        counts: (kinds,), how often each kind occurs.
        classes: how many there are.
        confidence: that there are no more.
    """
    counted = tally(labels, ours, classes, counts)
    right, alone = (
        np.bincount(labels, weights=counts * (theirs == labels) * wanted, minlength=classes)
        for wanted in (ours == labels, ours != labels)
    )
    scenario = _missed(counted, np.where(alone == 0, right, 0), confidence)
    return max(0.0, float(metric_value(metric, counted)) - float(metric_value(metric, scenario)))


def _missed(counted: ClassCounts, spotless: Floats, confidence: float) -> ClassCounts:
    """Rows that `spotless` counts per class, of the rarest class first, are taken for the commonest class."""
    order = np.argsort(spotless, kind="stable")
    sizes = spotless[order]
    lost = np.zeros_like(spotless)
    lost[order] = np.clip(_most(sizes.sum(), confidence) - (np.cumsum(sizes) - sizes), 0, sizes)
    return _moved(counted, lost, int(counted.actual.argmax()))


def _mistaken(counted: ClassCounts, confidence: float) -> ClassCounts:
    """Members of the commonest class are taken for the rarest class that never was."""
    commonest = int(counted.actual.argmax())
    spotless = (counted.hits == counted.predicted) & (counted.predicted > 0)
    spotless[commonest] = False
    if not spotless.any():
        return counted
    rarest = int(np.where(spotless, counted.predicted, np.inf).argmin())
    lost = np.zeros(len(counted.hits))
    lost[commonest] = min(_most(counted.actual.sum() - counted.actual[rarest], confidence), counted.hits[commonest])
    return _moved(counted, lost, rarest)


def _moved(counted: ClassCounts, lost: Floats, taken_for: int) -> ClassCounts:
    """The counts when that many hits of each class go to another class."""
    predicted = counted.predicted - lost
    predicted[taken_for] += lost.sum()
    return ClassCounts(hits=counted.hits - lost, actual=counted.actual, predicted=predicted)


def _most(rows: float, confidence: float) -> float:
    """The most mistakes to expect of so many rows that showed none."""
    return float(rows * (1 - (1 - confidence) ** (1 / rows))) if rows else 0.0

"""What mistakes could cost that the test rows did not happen to show.

With no mistake among n rows, the share of mistakes may still be as high as about 3/n at 95 % (Hanley and Lippman-Hand
1983, JAMA 249:1743). Resampling cannot know: a class without a mistake has none in any resample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .class_counts import ClassCounts, Counts, Floats, count

__all__ = ["unseen_cost", "unseen_loss"]

MetricOf = Callable[[ClassCounts], Floats]


def unseen_cost(metric: MetricOf, counts: ClassCounts, confidence: float) -> float:
    """What a metric would lose if classes without a mistake had as many as could have gone unseen.

    They are placed where they cost most: in the rarest of these classes.
    """
    faultless = np.where(counts.hits == counts.actual, counts.actual, 0)
    scenarios = (_with_missed(counts, faultless, confidence), _with_false_alarms(counts, confidence))
    worst = min(float(metric(scenario)) for scenario in scenarios)
    return max(0.0, float(metric(counts)) - worst)


def unseen_loss(
    metric: MetricOf, labels: Counts, candidate: Counts, baseline: Counts, classes: int, confidence: float
) -> float:
    """What the candidate's metric would lose if unseen rows existed that the baseline alone answers right.

    Such rows are assumed in classes in which the test rows show none.

    Args:
        metric: of the counts.
        labels: (rows,), the true classes.
        candidate: (rows,), predictions of the candidate.
        baseline: (rows,), predictions of the other model.
        classes: their number.
        confidence: that there are no more such rows.
    """
    counts = count(labels, candidate, classes)
    baseline_right = baseline == labels
    both, baseline_alone = (
        np.bincount(labels, weights=baseline_right & candidate_state, minlength=classes)
        for candidate_state in (candidate == labels, candidate != labels)
    )
    scenario = _with_missed(counts, np.where(baseline_alone == 0, both, 0), confidence)
    return max(0.0, float(metric(counts)) - float(metric(scenario)))


def _with_missed(counts: ClassCounts, faultless: Floats, confidence: float) -> ClassCounts:
    """The counts if unseen mistakes hit `faultless` rows per class, and were predicted as the commonest class."""
    # Spend the budget of unseen mistakes class by class, the rarest first.
    order = np.argsort(faultless, kind="stable")
    sizes = faultless[order]
    budget = _most_unseen(sizes.sum(), confidence)
    spent_before = np.cumsum(sizes) - sizes
    missed = np.zeros_like(faultless)
    missed[order] = np.clip(budget - spent_before, 0, sizes)
    return _moved(counts, missed, int(counts.actual.argmax()))


def _with_false_alarms(counts: ClassCounts, confidence: float) -> ClassCounts:
    """The counts if unseen members of the commonest class were predicted as the rarest faultlessly predicted class."""
    commonest = int(counts.actual.argmax())
    faultless = (counts.hits == counts.predicted) & (counts.predicted > 0)
    faultless[commonest] = False
    if not faultless.any():
        return counts
    rarest = int(np.where(faultless, counts.predicted, np.inf).argmin())
    missed = np.zeros(len(counts.hits))
    unseen = _most_unseen(counts.actual.sum() - counts.actual[rarest], confidence)
    missed[commonest] = min(unseen, counts.hits[commonest])
    return _moved(counts, missed, rarest)


def _moved(counts: ClassCounts, missed: Floats, predicted_as: int) -> ClassCounts:
    """The counts when that many hits of each class are predicted as one other class."""
    predicted = counts.predicted - missed
    predicted[predicted_as] += missed.sum()
    return ClassCounts(hits=counts.hits - missed, actual=counts.actual, predicted=predicted)


def _most_unseen(rows: float, confidence: float) -> float:
    """The most mistakes to expect among so many rows of which none showed one."""
    return float(rows * (1 - (1 - confidence) ** (1 / rows))) if rows else 0.0

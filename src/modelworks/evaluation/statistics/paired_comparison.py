"""Is one model better than another on the same rows?

Both models answer the same rows, so what they have in common cancels out: rows are resampled with both answers, which
tells smaller differences apart than two separate intervals (Koehn 2004, aclanthology.org/W04-3250). Intervals are
percentile intervals of the resamples. Losses that no row showed, no resample can show either, so the lower end allows
for them as well (`rule_of_three.py`): without that, two wins and no loss would count as certain.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelworks.evaluation.metrics.classification import Counts, Floats, Integers, Tallies, metric_value
from modelworks.evaluation.statistics import rule_of_three
from modelworks.evaluation.statistics.bootstrap import kinds, lowered, percentile, resample
from modelworks.records import Interval

if TYPE_CHECKING:
    from modelworks.evaluation.config import Metric

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How much better the candidate is than its opponent."""

    difference: Interval
    deviation: float
    """Standard deviation of the difference as one row would tell it: over n rows, it is this over the root of n."""
    rows: int


def compare(
    metric: Metric,
    labels: Integers,
    candidate: Integers,
    opponent: Integers,
    classes: int,
    *,
    confidence: float,
    resamples: int,
) -> Comparison:
    """The candidate's metric minus the opponent's, with its paired bootstrap interval.

    Args:
        metric: which one.
        labels: (rows,), indices below `classes`.
        candidate: (rows,), its predictions.
        opponent: (rows,), its predictions, row by row the same rows.
        classes: how many there are.
        confidence: of the interval.
        resamples: behind it.
    """
    if metric == "accuracy":  # asks for nothing but right or wrong: so there are at most four kinds of row
        classes = 2
        candidate, opponent = (np.where(answers == labels, 0, 1) for answers in (candidate, opponent))
        labels = np.zeros_like(candidate)
    (label, ours, theirs), counts = kinds(labels, candidate, opponent)
    of_ours, of_theirs = Tallies(label, ours, classes), Tallies(label, theirs, classes)

    def difference(drawn: Counts) -> Floats:
        return metric_value(metric, of_ours.of(drawn)) - metric_value(metric, of_theirs.of(drawn))

    drawn = resample(difference, counts, resamples)
    value = difference(counts)
    seen = percentile(float(value), drawn, confidence)
    lowest = lowered(
        seen, rule_of_three.lost(metric, label, ours, theirs, counts.astype(np.float64), classes, (1 + confidence) / 2)
    )
    rows = len(labels)
    return Comparison(
        difference=dataclasses.replace(seen, low=lowest), deviation=float(drawn.std() * np.sqrt(rows)), rows=rows
    )

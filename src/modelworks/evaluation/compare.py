"""Is one model better than another on the same rows?

Both models answer the same rows, so what they have in common cancels out: rows are resampled with both answers, which
tells smaller differences apart than two separate intervals (Koehn 2004, aclanthology.org/W04-3250).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modelworks.evaluation.bootstrap import kinds, percentile, resample
from modelworks.evaluation.metrics import Integers, figure, tally

if TYPE_CHECKING:
    from modelworks.evaluation.config import EvaluateConfig, Metric
    from modelworks.records import Interval

__all__ = ["difference"]


def difference(
    metric: Metric, labels: Integers, candidate: Integers, opponent: Integers, classes: int, config: EvaluateConfig
) -> Interval:
    """The candidate's metric minus the opponent's, with its paired bootstrap interval.

    Where no row tells the two apart the interval is the point 0: nothing speaks for or against either.

    Args:
        metric: which one.
        labels: (rows,), indices below `classes`.
        candidate: (rows,), its predictions.
        opponent: (rows,), its predictions, row by row the same rows.
        classes: how many there are.
        config: confidence and number of resamples.
    """
    value = figure(metric, tally(labels, candidate, classes)) - figure(metric, tally(labels, opponent, classes))
    (label, ours, theirs), counts = kinds(labels, candidate, opponent)
    draws = [
        figure(metric, tally(label, ours, classes, drawn)) - figure(metric, tally(label, theirs, classes, drawn))
        for drawn in resample(counts, config.resamples)
    ]
    return percentile(float(value), np.concatenate(draws), config.confidence)

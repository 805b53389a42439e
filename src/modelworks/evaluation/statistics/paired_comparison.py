"""Paired comparison of two models on the same rows.

Rows are resampled with the predictions of both models, which detects smaller differences than two separate intervals
(Koehn 2004, aclanthology.org/W04-3250). Intervals are percentile intervals of the resamples. A loss that is absent from
the rows is absent from every resample, so the lower end is widened for unseen losses (`unseen_loss` of the objective);
otherwise two wins without a loss would be significant.

A positive difference is better, also for a metric with small values being better.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.evaluation.statistics.bootstrap import Counts, Floats, percentile, resample, widened
from modelworks.objectives.metrics.rule_of_three import unseen_row_loss
from modelworks.objectives.row_statistics import RowStatistics
from modelworks.records import Interval

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from modelworks.objectives.base import Objective
    from modelworks.objectives.row_statistics import Columns

__all__ = ["Comparison", "compare", "compare_scores"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The gain of the candidate over a baseline."""

    difference: Interval
    deviation: float
    """Standard deviation of the difference per row; over n rows it is divided by sqrt(n)."""
    rows: int


def compare(
    objective: Objective,
    name: str,
    candidate: Columns,
    baseline: Columns,
    truth: Columns,
    *,
    confidence: float,
    resamples: int,
) -> Comparison:
    """Return the gain in a metric over the baseline, with its paired bootstrap interval.

    Args:
        objective: of the candidate.
        name: of the metric.
        candidate: its predicted columns.
        baseline: the baseline's predicted columns for the same rows.
        truth: the encoded targets of these rows.
        confidence: of the interval.
        resamples: number of bootstrap resamples.
    """
    metric = objective.metrics[name]
    sign = 1.0 if metric.better == "max" else -1.0
    if metric.form == "rank":
        counts = np.ones(len(next(iter(truth.values()))), dtype=np.int64)

        def values(drawn: Counts) -> Floats:
            ours, theirs = (objective.rank(name, each, truth, drawn) for each in (candidate, baseline))
            return np.asarray(sign * (ours - theirs))
    else:
        ours, theirs = (objective.statistics(metric.group, each, truth) for each in (candidate, baseline))
        pairs = _pairs(ours, theirs)
        counts = pairs.counts
        width = ours.values.shape[1]

        def values(drawn: Counts) -> Floats:
            sums = pairs.sums(drawn)
            if metric.form == "mean":
                return np.asarray(sign * (sums[..., 0] - sums[..., width]) / len(pairs.of_row))
            sides = (sums[..., :width], sums[..., width:])
            one, other = (objective.evaluate(metric.group, each)[name] for each in sides)
            return np.asarray(sign * (one - other))

    lost = objective.unseen_loss(name, candidate, baseline, truth, (1 + confidence) / 2)
    return _comparison(values, counts, lost, confidence, resamples)


def compare_scores(
    candidate: Floats, baseline: Floats, better: Literal["max", "min"], *, confidence: float, resamples: int
) -> Comparison:
    """Return the gain in the mean of row scores (rows,), with its paired bootstrap interval."""
    (ours, theirs), counts = _kinds(candidate, baseline)
    sign = 1.0 if better == "max" else -1.0
    gain = sign * (ours - theirs)
    lost = 0.0
    if np.isin(ours, (0, 1)).all() and np.isin(theirs, (0, 1)).all():
        # Rows are right or wrong, so there may be unseen losses.
        right = float(better == "max")
        lost = unseen_row_loss(candidate == right, baseline == right, (1 + confidence) / 2)
    return _comparison(lambda drawn: drawn @ gain / len(candidate), counts, lost, confidence, resamples)


def _comparison(
    values: Callable[[Counts], Floats], counts: Counts, lost: float, confidence: float, resamples: int
) -> Comparison:
    drawn = resample(values, counts, resamples)
    (value,) = values(counts[None])
    seen = percentile(float(value), drawn, confidence)
    lowest = widened(seen, seen.low, lost)
    rows = int(counts.sum())
    return Comparison(
        difference=dataclasses.replace(seen, low=lowest), deviation=float(drawn.std() * np.sqrt(rows)), rows=rows
    )


def _pairs(ours: RowStatistics, theirs: RowStatistics) -> RowStatistics:
    """Combine the statistics of both models; each pair of kinds that occurs is a kind."""
    pairs, of_row = np.unique(ours.of_row * theirs.values.shape[0] + theirs.of_row, return_inverse=True)
    left, right = np.divmod(pairs, theirs.values.shape[0])
    return RowStatistics(values=_beside(ours.values[left], theirs.values[right]), of_row=of_row)


def _beside(left: Any, right: Any) -> Any:  # NumPy arrays or SciPy sparse arrays
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return np.hstack([left, right])
    from scipy.sparse import hstack  # slow import

    return hstack([left, right], format="csr")


def _kinds(*scores: npt.NDArray[np.float64]) -> tuple[list[Floats], Counts]:
    """Return the distinct rows of some columns, in descending order, and their counts."""
    values, codes = zip(*(np.unique(-column, return_inverse=True) for column in scores), strict=True)
    sizes = tuple(len(each) for each in values)
    kinds, counts = np.unique(np.ravel_multi_index(codes, sizes), return_counts=True)
    places = np.unravel_index(kinds, sizes)
    return [-each[place] for each, place in zip(values, places, strict=True)], counts

"""Confidence intervals of an objective's metrics over the test rows.

Intervals are bootstrap intervals over rows, with two exceptions:

- a proportion has Wilson's interval, whose coverage is close to nominal also near 0 and 1 (Brown, Cai and DasGupta
  2001, doi:10.1214/ss/1009213286);
- a class without an error has none in any resample, which would give it no variance. So the worse end of a metric is
  widened for unseen errors (`unseen_cost` of the objective).

In simulations of classification with at least ten test rows per class, 95 % intervals covered the true value in 93 to
100 % of draws, that of macro F1 over fifty classes in 91 %. The coverage of macro F1 was 85 % with five rows per class
and 78 % with three.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from modelworks.evaluation.statistics.bootstrap import (
    Counts,
    Floats,
    mean_interval,
    percentile,
    resample,
    widened,
    wilson,
)
from modelworks.records import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelworks.evaluation.config import EvaluateConfig
    from modelworks.objectives.base import Objective
    from modelworks.objectives.row_statistics import Columns, Metric, RowStatistics

__all__ = ["intervals"]


def intervals(objective: Objective, predicted: Columns, truth: Columns, config: EvaluateConfig) -> dict[str, Interval]:
    """Return the interval of each metric, in the objective's order."""
    groups: dict[str, list[str]] = {}
    for name, metric in objective.metrics.items():
        groups.setdefault(metric.group, []).append(name)
    found: dict[str, Interval] = {}
    for group, names in groups.items():
        form = objective.metrics[names[0]].form
        if form == "rank":
            found |= {name: _of_rank(objective, name, predicted, truth, config) for name in names}
            continue
        statistics = objective.statistics(group, predicted, truth)
        if form == "proportion":
            found |= {name: _of_proportion(statistics, config.confidence) for name in names}
        elif form == "mean":
            values = np.asarray(statistics.values[statistics.of_row, 0], dtype=np.float64)
            found |= {name: mean_interval(values, config.confidence, config.resamples) for name in names}
        else:
            found |= _of_sums(objective, group, names, statistics, config)
    return {
        name: _with_unseen(objective, name, found[name], predicted, truth, config.confidence)
        for name in objective.metrics
    }


def _of_proportion(statistics: RowStatistics, confidence: float) -> Interval:
    hits, rows = statistics.sums(statistics.counts)
    return wilson(int(hits), int(rows), confidence)


def _of_sums(
    objective: Objective, group: str, names: Sequence[str], statistics: RowStatistics, config: EvaluateConfig
) -> dict[str, Interval]:
    def metrics(drawn: Counts) -> Floats:
        values = objective.evaluate(group, statistics.sums(drawn))
        return np.stack([values[name] for name in names])

    draws = resample(metrics, statistics.counts, config.resamples)
    values = metrics(statistics.counts)
    return {
        name: percentile(float(value), of_metric, config.confidence)
        for name, value, of_metric in zip(names, values, draws, strict=True)
    }


def _of_rank(objective: Objective, name: str, predicted: Columns, truth: Columns, config: EvaluateConfig) -> Interval:
    counts = np.ones(len(next(iter(truth.values()))), dtype=np.int64)
    draws = resample(lambda drawn: objective.rank(name, predicted, truth, drawn), counts, config.resamples)
    value = objective.rank(name, predicted, truth, counts[None])
    return percentile(float(value[0]), draws, config.confidence)


def _with_unseen(
    objective: Objective, name: str, interval: Interval, predicted: Columns, truth: Columns, confidence: float
) -> Interval:
    """Widen the worse end of an interval for unseen errors, within the metric's range."""
    metric: Metric = objective.metrics[name]
    cost = objective.unseen_cost(name, predicted, truth, confidence)
    if not cost:
        return interval
    if metric.better == "max":
        low = widened(interval, interval.low, cost)
        return dataclasses.replace(interval, low=low if metric.lowest is None else max(metric.lowest, low))
    high = widened(interval, interval.high, cost)
    return dataclasses.replace(interval, high=high if metric.highest is None else min(metric.highest, high))

"""How sure a figure is: confidence intervals by resampling the test rows.

A bootstrap resample of the rows is a multinomial draw over the distinct kinds of row, so the draw is made over kinds:
exactly the same distribution, at a cost that does not grow with the rows. Intervals are percentile intervals (Efron
and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3), except where that method goes wrong:

- accuracy is a plain proportion and has Wilson's interval (Wilson 1927, doi:10.1080/01621459.1927.10502953), whose
  coverage is close to nominal near 0 and 1 as well (Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286);
- a class without a mistake has none in any resample either, and would count as certain. So the lower end of a macro
  average also allows for mistakes that went unseen there (rule_of_three.py); the two distances from the metric are taken as
  independent and add as squares (Zou and Donner 2008, Statistics in Medicine 27:1693).

In simulations 95 % intervals covered the truth in 93 to 100 % of draws from ten test rows per class upwards, that of
macro F1 over fifty classes in 91 %; with five rows per class macro F1 came down to 85 %, with three to 78 %.
All draws are seeded: the same rows have the same interval, on however many threads it is drawn.
"""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.evaluation.config import METRICS, EvaluateConfig, Metric
from modelworks.evaluation.metrics.classification import (
    Counts,
    Floats,
    Integers,
    Tallies,
    log_losses,
    metric_value,
    tally,
)
from modelworks.evaluation.statistics import rule_of_three
from modelworks.process import cores
from modelworks.records import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["intervals", "kinds", "lowered", "percentile", "resample", "wilson"]

CHUNK = 250_000
"""Most numbers drawn at a time: few enough for a processor's own memory, whatever the test rows."""
RARE = 10
"""Rows of a kind below which it is cheaper to draw each of them than how many there are."""


def intervals(
    labels: Integers, predictions: Integers, probabilities: npt.NDArray[np.floating], config: EvaluateConfig
) -> dict[str, Interval]:
    """Every metric and the log loss with its interval; probabilities are (rows, classes)."""
    classes = probabilities.shape[1]
    counted = tally(labels, predictions, classes)
    (label, predicted), counts = kinds(labels, predictions)
    tallies = Tallies(label, predicted, classes)
    metrics: list[Metric] = [metric for metric in METRICS if metric != "accuracy"]

    def figures(drawn: Counts) -> Floats:
        resampled = tallies.of(drawn)
        return np.stack([metric_value(metric, resampled) for metric in metrics])

    found: dict[str, Interval] = {"accuracy": wilson(int(counted.hits.sum()), len(labels), config.confidence)}
    for metric, draws in zip(metrics, resample(figures, counts, config.resamples), strict=True):
        seen = percentile(float(metric_value(metric, counted)), draws, config.confidence)
        low = lowered(seen, rule_of_three.cost(metric, counted, config.confidence))
        found[metric] = dataclasses.replace(seen, low=max(0.0, low))
    return {**found, "log_loss": _mean_interval(log_losses(labels, probabilities), config)}


def kinds(*columns: Integers) -> tuple[list[npt.NDArray[np.int64]], npt.NDArray[np.int64]]:
    """The distinct rows of some columns, and how often each occurs."""
    stacked = np.stack(columns).astype(np.int64)
    sizes = tuple(stacked.max(axis=1) + 1)
    # One number for each row: sorting those is ten times as fast as sorting columns.
    codes, counts = np.unique(np.ravel_multi_index(tuple(stacked), sizes), return_counts=True)
    return list(np.unravel_index(codes, sizes)), counts


def resample(
    statistic: Callable[[npt.NDArray[np.int64]], Floats], counts: npt.NDArray[np.int64], resamples: int, seed: int = 0
) -> Floats:
    """A statistic of bootstrap resamples, given (some, kinds) counts of them at a time: (..., resamples).

    How many rows are of each frequent kind, and of the rare ones together, is one multinomial draw; those of the rare
    kinds are then drawn row by row. Each kind's counts lie side by side in memory, as `Tallies` adds them up.
    """
    rows = int(counts.sum())
    rare = np.flatnonzero(counts < RARE)
    frequent = np.flatnonzero(counts >= RARE)
    of_rare = np.repeat(rare, counts[rare])
    shares = np.append(counts[frequent], len(of_rare)) / rows
    at_once = max(1, CHUNK // max(len(counts), len(of_rare)))

    def chunk(start: int) -> Floats:
        # NumPy's fastest generator: drawing is most of the work. A chunk's draws are its own, whoever draws it when.
        generator = np.random.Generator(np.random.SFC64((seed, start)))
        some = min(at_once, resamples - start)
        drawn = generator.multinomial(rows, shares, size=some)
        # The cell of each row of a rare kind: its kind's, in its resample's column.
        cells = np.take(of_rare * some, generator.integers(len(of_rare), size=drawn[:, -1].sum()))
        cells += np.repeat(np.arange(some), drawn[:, -1])
        drawn_of = np.bincount(cells, minlength=len(counts) * some).reshape(len(counts), some)
        drawn_of[frequent] = drawn[:, :-1].T
        return statistic(drawn_of.T)

    with ThreadPoolExecutor(cores()) as threads:  # NumPy lets go of the interpreter while it draws and adds
        return np.concatenate(list(threads.map(chunk, range(0, resamples, at_once))), axis=-1)


def percentile(value: float, draws: Floats, confidence: float) -> Interval:
    """The middle `confidence` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(value=value, low=float(low), high=float(high), confidence=confidence)


def lowered(interval: Interval, cost: float) -> float:
    """The interval's lower end when it allows for that cost as well."""
    return min(interval.low, interval.value - math.hypot(interval.value - interval.low, cost))


def wilson(hits: int, rows: int, confidence: float) -> Interval:
    """Wilson's score interval of a proportion."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / rows
    scale = 1 / (1 + z * z / rows)
    centre = (share + z * z / (2 * rows)) * scale
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) * scale
    # At 0 and 1 one end is the share itself; rounding must not carry it past.
    low, high = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return Interval(value=share, low=low, high=high, confidence=confidence)


def _mean_interval(values: Floats, config: EvaluateConfig, seed: int = 0) -> Interval:
    """The interval of a mean whose rows are all different."""
    generator = np.random.default_rng(seed)
    at_once = max(1, CHUNK // len(values))
    sizes = [(min(at_once, config.resamples - start), len(values)) for start in range(0, config.resamples, at_once)]
    means = [values[generator.integers(len(values), size=size, dtype=np.int32)].mean(axis=1) for size in sizes]
    return percentile(float(values.mean()), np.concatenate(means), config.confidence)

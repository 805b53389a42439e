"""Bootstrap resamples of rows and confidence intervals.

A bootstrap resample is drawn as a multinomial over the distinct kinds of row: the same distribution at a cost that does
not grow with the number of rows. Intervals are percentile intervals (Efron and Tibshirani 1993, An Introduction to the
Bootstrap, section 13.3). All draws are seeded: the interval does not depend on the number of threads.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.process import cores
from modelworks.records import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["mean_interval", "percentile", "resample", "widened", "wilson"]

CHUNK = 250_000
"""Maximum numbers per chunk, to fit into the processor's cache."""
RARE = 10
"""Number of rows of a kind below which drawing single rows is cheaper than drawing the kind's count."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def resample(statistic: Callable[[Counts], Floats], counts: npt.NDArray[Any], resamples: int, seed: int = 0) -> Floats:
    """Return a statistic of bootstrap resamples, (..., resamples).

    `statistic` gets counts (chunk of resamples, kinds), contiguous per kind. One multinomial draw gives the counts of
    each frequent kind and of all rare kinds together; rows of rare kinds are then drawn one by one.
    """
    rows = int(counts.sum())
    rare = np.flatnonzero(counts < RARE)
    frequent = np.flatnonzero(counts >= RARE)
    rare_rows = np.repeat(rare, counts[rare])
    shares = np.append(counts[frequent], len(rare_rows)) / rows
    chunk_size = max(1, CHUNK // max(len(counts), len(rare_rows)))

    def chunk(start: int) -> Floats:
        # SFC64 is NumPy's fastest generator. Each chunk is seeded separately, so the order of threads does not matter.
        generator = np.random.Generator(np.random.SFC64((seed, start)))
        size = min(chunk_size, resamples - start)
        drawn = generator.multinomial(rows, shares, size=size)
        # Flat index (kind, resample) of each drawn row of a rare kind.
        cells = np.take(rare_rows * size, generator.integers(len(rare_rows), size=drawn[:, -1].sum()))
        cells += np.repeat(np.arange(size), drawn[:, -1])
        kind_counts = np.bincount(cells, minlength=len(counts) * size).reshape(len(counts), size)
        kind_counts[frequent] = drawn[:, :-1].T
        return statistic(kind_counts.T)

    with ThreadPoolExecutor(cores()) as threads:  # NumPy releases the GIL while it draws and adds
        return np.concatenate(list(threads.map(chunk, range(0, resamples, chunk_size))), axis=-1)


def percentile(value: float, draws: Floats, confidence: float) -> Interval:
    """Return the percentile interval of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(value=value, low=float(low), high=float(high), confidence=confidence)


def widened(interval: Interval, end: float, cost: float) -> float:
    """Return one end of an interval, moved away from its value by an independent cost.

    The two distances from the value add as squares (Zou and Donner 2008, Statistics in Medicine 27:1693).
    """
    distance = math.hypot(interval.value - end, cost)
    if end <= interval.value:
        return min(end, interval.value - distance)
    return max(end, interval.value + distance)


def wilson(hits: int, rows: int, confidence: float) -> Interval:
    """Return Wilson's score interval of a proportion (1927, doi:10.1080/01621459.1927.10502953)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / rows
    scale = 1 / (1 + z * z / rows)
    centre = (share + z * z / (2 * rows)) * scale
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) * scale
    # At shares 0 and 1 one end is the share itself; do not let rounding move it beyond.
    low, high = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return Interval(value=share, low=low, high=high, confidence=confidence)


def mean_interval(values: Floats, confidence: float, resamples: int, seed: int = 0) -> Interval:
    """Return the bootstrap interval of the mean of values (rows,), without grouping equal ones."""
    generator = np.random.default_rng(seed)
    chunk_size = max(1, CHUNK // len(values))
    sizes = [(min(chunk_size, resamples - start), len(values)) for start in range(0, resamples, chunk_size)]
    means = [values[generator.integers(len(values), size=size, dtype=np.int32)].mean(axis=1) for size in sizes]
    return percentile(float(values.mean()), np.concatenate(means), confidence)

"""Bootstrap resamples of rows, and the intervals that follow from them.

A bootstrap resample of the rows is a multinomial draw over the distinct kinds of row, so the draw is made over kinds:
exactly the same distribution, at a cost that does not grow with the rows. Intervals are percentile intervals (Efron
and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3). All draws are seeded: the same rows have the same
interval, on however many threads it is drawn.
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
"""Most numbers drawn at a time: few enough for a processor's own memory, whatever the test rows."""
RARE = 10
"""Rows of a kind below which it is cheaper to draw each of them than how many there are."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def resample(statistic: Callable[[Counts], Floats], counts: npt.NDArray[Any], resamples: int, seed: int = 0) -> Floats:
    """A statistic of bootstrap resamples, given (some, kinds) counts of them at a time: (..., resamples).

    How many rows are of each frequent kind, and of the rare ones together, is one multinomial draw; those of the rare
    kinds are then drawn row by row. The counts of each kind lie side by side in memory.
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

    with ThreadPoolExecutor(cores()) as threads:  # NumPy releases the interpreter's lock while it draws and adds
        return np.concatenate(list(threads.map(chunk, range(0, resamples, at_once))), axis=-1)


def percentile(value: float, draws: Floats, confidence: float) -> Interval:
    """The middle `confidence` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(value=value, low=float(low), high=float(high), confidence=confidence)


def widened(interval: Interval, end: float, cost: float) -> float:
    """One end of an interval, moved away from its value to allow for a further, independent cost.

    The two distances from the value add as squares (Zou and Donner 2008, Statistics in Medicine 27:1693).
    """
    distance = math.hypot(interval.value - end, cost)
    if end <= interval.value:
        return min(end, interval.value - distance)
    return max(end, interval.value + distance)


def wilson(hits: int, rows: int, confidence: float) -> Interval:
    """Wilson's score interval of a proportion (1927, doi:10.1080/01621459.1927.10502953)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / rows
    scale = 1 / (1 + z * z / rows)
    centre = (share + z * z / (2 * rows)) * scale
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) * scale
    # At 0 and 1 one end is the share itself; rounding must not carry it past.
    low, high = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return Interval(value=share, low=low, high=high, confidence=confidence)


def mean_interval(values: Floats, confidence: float, resamples: int, seed: int = 0) -> Interval:
    """The interval of the mean of (rows,) values that are all different."""
    generator = np.random.default_rng(seed)
    at_once = max(1, CHUNK // len(values))
    sizes = [(min(at_once, resamples - start), len(values)) for start in range(0, resamples, at_once)]
    means = [values[generator.integers(len(values), size=size, dtype=np.int32)].mean(axis=1) for size in sizes]
    return percentile(float(values.mean()), np.concatenate(means), confidence)

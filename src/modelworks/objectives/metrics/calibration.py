"""Calibration of probabilities in bins of equally many rows.

With bins of equal width most rows of a good model fall into one bin, and the error is biased (Nixon et al. 2019,
arXiv:1904.01685; Roelofs et al. 2022, arXiv:2012.08668).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..figures import Reliability

__all__ = ["BINS", "equal_bins", "reliability"]

BINS = 15


def equal_bins(sure: npt.NDArray[np.float64]) -> list[npt.NDArray[np.int64]]:
    """Return row indices by ascending probability, split into at most BINS parts of equal size."""
    return [part for part in np.array_split(np.argsort(sure, kind="stable"), BINS) if len(part)]


def reliability(sure: npt.NDArray[np.float64], right: npt.NDArray[Any]) -> Reliability:
    """Compare the probability of each answer (rows,) with whether it was right (rows,)."""
    parts = equal_bins(sure)
    rows = np.array([len(part) for part in parts])
    predicted = np.array([sure[part].mean() for part in parts])
    hits = np.array([int(right[part].sum()) for part in parts])
    error = float(np.average(np.abs(hits / rows - predicted), weights=rows))
    return Reliability(
        title="Calibration", file="calibration", error=error, sure=sure, predicted=predicted, hits=hits, rows=rows
    )

"""How far a model's probabilities can be believed.

The test rows are put in order of how sure the model is and cut into bins of equally many rows: bins of equal width
leave a good model one crowded bin and many nearly empty ones, and their error a bias (Nixon et al. 2019,
arXiv:1904.01685; Roelofs et al. 2022, arXiv:2012.08668).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from modelworks.evaluation.metrics.classification import Floats, Integers

__all__ = ["BINS", "Reliability", "reliability"]

BINS = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """What a model said and what was true; the last three arrays are (bins,)."""

    error: float
    """Expected calibration error: the mean distance between the two, over all rows."""
    sure: Floats
    """(rows,), the probability of each answer."""
    said: Floats
    """How sure the model was, on average."""
    hits: npt.NDArray[np.int64]
    """Rows it was right in."""
    rows: npt.NDArray[np.int64]


def reliability(probabilities: npt.NDArray[np.floating], labels: Integers) -> Reliability:
    """Of probabilities (rows, classes) and the classes that were true (rows,)."""
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    parts = [part for part in np.array_split(np.argsort(sure, kind="stable"), BINS) if len(part)]
    rows = np.array([len(part) for part in parts])
    said = np.array([sure[part].mean() for part in parts])
    hits = np.array([int(right[part].sum()) for part in parts])
    error = float(np.average(np.abs(hits / rows - said), weights=rows))
    return Reliability(error=error, sure=sure, said=said, hits=hits, rows=rows)

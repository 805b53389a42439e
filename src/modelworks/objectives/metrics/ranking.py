"""ROC AUC and average precision for any number of resamples.

A resample is given by the count of each row, so rows are sorted once for all resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["average_precision", "roc_auc"]

Floats = npt.NDArray[np.float64]


def roc_auc(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_], counts: npt.NDArray[Any]) -> Floats:
    """Return the area under the ROC curve; ties count half (Hanley and McNeil 1982).

    Args:
        scores: (rows,), higher for rows that are more likely positive.
        positive: (rows,).
        counts: (resamples, rows), the count of each row in each resample.

    Returns:
        (resamples,); NaN where a resample lacks positive or negative rows.
    """
    positives, negatives = _by_score(scores, positive, counts)
    below = np.cumsum(negatives, axis=-1) - negatives
    wins = (positives * (below + negatives / 2)).sum(axis=-1)
    return _ratio(wins, positives.sum(axis=-1) * negatives.sum(axis=-1))


def average_precision(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_], counts: npt.NDArray[Any]) -> Floats:
    """Return the mean precision over thresholds, weighted by the gain in recall.

    Arguments are as for `roc_auc`.
    """
    positives, negatives = (each[:, ::-1] for each in _by_score(scores, positive, counts))  # highest score first
    found = np.cumsum(positives, axis=-1)
    precision = np.divide(found, found + np.cumsum(negatives, axis=-1), out=np.zeros_like(found), where=found > 0)
    return _ratio((precision * positives).sum(axis=-1), positives.sum(axis=-1))


def _by_score(
    scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_], counts: npt.NDArray[Any]
) -> tuple[Floats, Floats]:
    """Count positive and negative rows of each distinct score, ascending: (resamples, scores)."""
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)
    sorted_counts = np.asarray(counts, dtype=np.float64)[:, order]
    positives = np.add.reduceat(sorted_counts * positive[order], starts, axis=-1)
    return positives, np.add.reduceat(sorted_counts, starts, axis=-1) - positives


def _ratio(part: Floats, of: Floats) -> Floats:
    quotient: Floats = np.divide(part, of, out=np.full(np.shape(of), np.nan), where=of > 0)
    return quotient

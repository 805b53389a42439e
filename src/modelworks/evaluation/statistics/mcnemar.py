"""McNemar's exact test: do two models that answered the same rows err equally often?

Rows that both answer right, or both wrong, say nothing about that. Among the rest each model is right alone, and
between equal models each such row is a coin's toss (McNemar 1947, doi:10.1007/BF02295996).
"""

from __future__ import annotations

import numpy as np

__all__ = ["p_value"]


def p_value(fixed: int, broken: int) -> float:
    """How likely so uneven a split, or a more uneven one, is for a fair coin: exact and two-sided.

    Args:
        fixed: rows that only the candidate answers right.
        broken: rows that only its opponent answers right.
    """
    tosses, fewer = fixed + broken, min(fixed, broken)
    if 2 * fewer >= tosses:
        return 1.0
    # log of (tosses choose k) for k from 0 to `fewer`: the terms themselves have no place in a float.
    steps = np.arange(1, fewer + 1, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((tosses - steps + 1) / steps))]) - tosses * np.log(2)
    return min(1.0, float(2 * np.exp(np.logaddexp.reduce(logs))))

"""McNemar's exact test: whether two models have the same error rate on the same rows.

Only rows that exactly one model gets right are informative; for equal models each model is right on such a row with
probability 0.5 (McNemar 1947, doi:10.1007/BF02295996).
"""

from __future__ import annotations

import numpy as np

__all__ = ["p_value"]


def p_value(fixed: int, broken: int) -> float:
    """Return the exact two-sided p-value.

    Args:
        fixed: number of rows that only the candidate gets right.
        broken: number of rows that only the baseline gets right.
    """
    trials, fewer = fixed + broken, min(fixed, broken)
    if 2 * fewer >= trials:
        return 1.0
    # log of the binomial probabilities for k from 0 to `fewer`; the coefficients themselves overflow.
    steps = np.arange(1, fewer + 1, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((trials - steps + 1) / steps))]) - trials * np.log(2)
    return min(1.0, float(2 * np.exp(np.logaddexp.reduce(logs))))

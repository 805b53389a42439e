"""Estimate the number of test rows that a decision needs.

The gate promotes if the lower end of the difference's interval is above a limit. Over n rows that end is about
difference - z * deviation / sqrt(n), so the rows for a given power follow from the normal approximation (Connor 1987,
Biometrics 43:207, for proportions).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelworks.evaluation.statistics.paired_comparison import Comparison

__all__ = ["POWER", "rows_needed", "rows_needed_text"]

POWER = 0.8
"""Probability that the estimated number of rows suffices."""
TOUCHING = 1e-9
"""Distance up to which a difference counts as equal to the limit."""


def rows_needed(comparison: Comparison, limit: float, power: float = POWER) -> int | None:
    """Return the number of test rows that separates the difference from a limit, or None.

    Args:
        comparison: the observed difference.
        limit: the limit to separate from, on the side of the observed difference.
        power: probability that the number suffices.
    """
    difference = comparison.difference
    distance = abs(difference.value - limit)
    if distance < TOUCHING:
        return None
    if comparison.deviation == 0:  # no differing row: only unseen losses widen the interval
        return math.ceil(math.log((1 - difference.confidence) / 2) / math.log1p(-min(distance, 0.999)))
    ends = NormalDist().inv_cdf((1 + difference.confidence) / 2) + NormalDist().inv_cdf(power)
    return max(1, math.ceil((ends * comparison.deviation / distance) ** 2))


def rows_needed_text(comparison: Comparison, limit: float) -> str:
    """Return the number of test rows needed as text."""
    needed = rows_needed(comparison, limit)
    if needed is None:
        return "no number of test rows would suffice"
    # Round to two digits, because it is an estimate.
    scale = 10 ** max(0, len(str(needed)) - 2)
    return f"about {-(-needed // scale) * scale:,} test rows would suffice, there are {comparison.rows:,}"

"""How many test rows it takes to tell.

The gate promotes when the lower end of the difference's interval lies above a limit. Over n rows that end is about
difference - z * deviation / sqrt(n), so the rows for a given chance of success (power) follow from the normal
approximation (Connor 1987, Biometrics 43:207, has it for proportions).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelworks.evaluation.statistics.paired_comparison import Comparison

__all__ = ["POWER", "in_words", "rows_needed"]

POWER = 0.8
"""The chance with which as many rows as are named would tell."""
TOUCHING = 1e-9
"""Nearer to the limit than this a difference is the limit itself."""


def rows_needed(comparison: Comparison, limit: float, power: float = POWER) -> int | None:
    """The test rows with which the observed difference would be told from a limit; None when no number would do.

    Args:
        comparison: what was observed.
        limit: which the whole interval should lie above, or below where the observed difference does.
        power: the chance of it.
    """
    difference = comparison.difference
    distance = abs(difference.value - limit)
    if distance < TOUCHING:
        return None
    if comparison.deviation == 0:  # no row tells the two apart: then it is what no row showed that must be ruled out
        return math.ceil(math.log((1 - difference.confidence) / 2) / math.log1p(-min(distance, 0.999)))
    ends = NormalDist().inv_cdf((1 + difference.confidence) / 2) + NormalDist().inv_cdf(power)
    return max(1, math.ceil((ends * comparison.deviation / distance) ** 2))


def in_words(comparison: Comparison, limit: float) -> str:
    """How many test rows would tell, for a person."""
    needed = rows_needed(comparison, limit)
    if needed is None:
        return "no number of test rows would tell"
    # Two digits: it is an estimate from an estimate.
    scale = 10 ** max(0, len(str(needed)) - 2)
    return f"about {-(-needed // scale) * scale:,} test rows would tell, there are {comparison.rows:,}"

"""Metrics that are functions of sums of per-row statistics.

Rows are stored as columns: a mapping of names to arrays whose first axis is the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Columns", "Metric", "RowStatistics"]

Columns = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric for `gate.minimums`, `gate.compare` and `train.monitor`."""

    better: Literal["max", "min"]
    group: str
    """Metrics of one group share row statistics and resamples."""
    form: Literal["proportion", "mean", "sums", "rank"] = "sums"
    """Method of its interval: `proportion` for a share of rows (statistics: 1 for a hit, and 1), `mean` for the mean of
    one value per row, `sums` for any function of sums over rows, `rank` for a function of the order of all rows."""
    lowest: float | None = 0.0
    """Lower bound of its range; None for unbounded."""
    highest: float | None = 1.0


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """Additive statistics of rows: every metric of a group is a function of their sum.

    Rows with equal statistics are one kind of row; the bootstrap draws kinds instead of rows.
    """

    values: Any
    """float64 (kinds, k), a NumPy array or a SciPy sparse array."""
    of_row: np.ndarray[Any, Any]
    """int64 (rows,): the kind of each row. A row of `values` without rows is allowed."""

    @property
    def counts(self) -> np.ndarray[Any, Any]:
        """Number of rows of each kind, int64 (kinds,)."""
        import numpy as np

        return np.bincount(self.of_row, minlength=self.values.shape[0])

    def sums(self, counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Sum the statistics of resamples: counts (..., kinds) to sums (..., k)."""
        import numpy as np

        return np.asarray((self.values.T @ np.asarray(counts, dtype=np.float64).T).T)

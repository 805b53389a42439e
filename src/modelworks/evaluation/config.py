"""The `evaluate:` and `gate:` sections of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

__all__ = ["BudgetConfig", "EvaluateConfig", "GateConfig", "SliceConfig"]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How to score the test rows."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of the intervals."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Number of bootstrap resamples per interval."""
    worst: Annotated[int, Field(ge=0)] = 24
    """Number of worst mistakes to show."""


@dataclass(frozen=True, kw_only=True)
class SliceConfig:
    """Limits on slices of the test rows, for the mean of the objective's row scores.

    In classification that mean is the accuracy.
    """

    by: tuple[str, ...]
    """Columns that define the slices: `label` for the classes, or any column of examples.parquet."""
    min_rows: Annotated[int, Field(ge=1)] = 50
    """Smaller slices are listed but not judged."""
    minimum: float | None = None
    """Minimum in every slice, for an objective with high scores being better."""
    maximum: float | None = None
    """Maximum in every slice, for an objective with low scores being better."""
    max_regression: Annotated[float, Field(ge=0)] | None = None
    """Maximum regression of a slice against production."""

    def __post_init__(self) -> None:
        if not self.by:
            raise ValueError("by is empty: name label or a column, e.g. [label]")
        if self.minimum is None and self.maximum is None and self.max_regression is None:
            raise ValueError("by is set without a limit: give minimum, maximum or max_regression")


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """Limits on latency and size."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Milliseconds for a single row on the CPU, decoding included: the median of 50."""
    size_mb: Annotated[float, Field(gt=0)] | None = None
    """Size of the saved model's folder in megabytes (10^6 bytes)."""

    def __post_init__(self) -> None:
        if self.latency_ms is None and self.size_mb is None:
            raise ValueError("budgets is empty: give latency_ms or size_mb")


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Requirements on a version to become production; the metrics are those of the objective."""

    minimums: Mapping[str, float] = field(default_factory=dict)
    """Minimum of each metric on the test rows, for metrics that should be high."""
    maximums: Mapping[str, float] = field(default_factory=dict)
    """Maximum of each metric on the test rows, for metrics that should be low."""
    compare: str = ""
    """The metric for the comparisons with production and with the trivial baseline; the objective's first metric if
    left out."""
    max_regression: Annotated[float, Field(ge=0)] = 0.0
    """Maximum regression against production, in the metric's unit; for 0 the version must be significantly better."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of the comparison's interval. A version worse by exactly `max_regression` passes with a
    probability of at most (1 - confidence) / 2."""
    resamples: Annotated[int, Field(ge=1000)] = 10_000
    """Number of bootstrap resamples for that interval."""
    slices: SliceConfig | None = None
    """Limits on slices; leave out for none."""
    budgets: BudgetConfig | None = None
    """Limits on latency and size; leave out for none."""

    def __post_init__(self) -> None:
        if not self.minimums and not self.maximums:
            raise ValueError("minimums is empty: limit a metric, there or in maximums, e.g. {accuracy: 0.9}")

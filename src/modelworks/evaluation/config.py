"""The `evaluate:` and `gate:` sections of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

__all__ = ["BudgetConfig", "EvaluateConfig", "GateConfig", "SliceConfig"]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How the test rows are scored."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of every interval."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap resamples behind each interval."""
    worst: Annotated[int, Field(ge=0)] = 24
    """How many of the worst mistakes are shown."""


@dataclass(frozen=True, kw_only=True)
class SliceConfig:
    """What is required within parts of the test rows as well, of the mean of the objective's score of a row.

    In classification that mean is the share of rows that are answered right.
    """

    by: tuple[str, ...]
    """What cuts the rows: `label` for the classes, or any column of the data set's examples.parquet."""
    min_rows: Annotated[int, Field(ge=1)] = 50
    """Smaller slices are named, not judged."""
    minimum: float | None = None
    """Lowest value in every slice, of an objective whose high scores are the good ones."""
    maximum: float | None = None
    """Highest value in every slice, of an objective whose low scores are the good ones."""
    max_regression: Annotated[float, Field(ge=0)] | None = None
    """How much worse than production a slice may be."""

    def __post_init__(self) -> None:
        if not self.by:
            raise ValueError("by is empty: name label or a column, e.g. [label]")
        if self.minimum is None and self.maximum is None and self.max_regression is None:
            raise ValueError("by cuts slices, but nothing is required of them: give minimum, maximum or max_regression")


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """What answering may cost."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Milliseconds for one row at a time on the CPU: the median of 50, decoding included."""
    size_mb: Annotated[float, Field(gt=0)] | None = None
    """Megabytes (10^6 bytes) of the saved model's folder."""

    def __post_init__(self) -> None:
        if self.latency_ms is None and self.size_mb is None:
            raise ValueError("budgets is empty: give latency_ms or size_mb")


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What a version must reach to become production; the objective says which metrics there are."""

    minimums: Mapping[str, float] = field(default_factory=dict)
    """Lowest value of each metric on the test rows, of metrics that should be high."""
    maximums: Mapping[str, float] = field(default_factory=dict)
    """Highest value of each metric on the test rows, of metrics that should be low."""
    compare: str = ""
    """The metric of the comparisons with production and with the trivial answer, on the same rows; the objective's
    first metric if left out."""
    max_regression: Annotated[float, Field(ge=0)] = 0.0
    """How much worse than production a version may be, in the metric's unit; at 0 it must be shown to be better."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the comparison's interval. A version that is just as much worse as is forbidden passes with a chance of at
    most (1 - confidence) / 2."""
    resamples: Annotated[int, Field(ge=1000)] = 10_000
    """Bootstrap resamples behind that interval."""
    slices: SliceConfig | None = None
    """Leave out to judge all test rows together alone."""
    budgets: BudgetConfig | None = None
    """Leave out for no limit on latency and size."""

    def __post_init__(self) -> None:
        if not self.minimums and not self.maximums:
            raise ValueError("minimums is empty: limit a metric, there or in maximums, e.g. {accuracy: 0.9}")

"""The `evaluate:` and `gate:` sections of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

__all__ = ["METRICS", "BudgetConfig", "EvaluateConfig", "GateConfig", "Metric", "SliceConfig"]

Metric = Literal["accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall"]
METRICS: tuple[Metric, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall")


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
    """What must hold within parts of the test rows as well; each part's figure is the share of its rows answered right."""

    by: tuple[str, ...]
    """What cuts the rows: `label` for the classes, or any column of the data set's examples.parquet."""
    min_rows: Annotated[int, Field(ge=1)] = 50
    """Smaller slices are named, not judged."""
    minimum: Annotated[float, Field(ge=0, le=1)] | None = None
    """Lowest value in every slice."""
    max_regression: Annotated[float, Field(ge=0, lt=1)] | None = None
    """How much worse than production a slice may be."""

    def __post_init__(self) -> None:
        if not self.by:
            raise ValueError("by is empty: name label or a column, e.g. [label]")
        if self.minimum is None and self.max_regression is None:
            raise ValueError("by cuts slices, but nothing is demanded of them: give minimum or max_regression")


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
    """What a version must reach to become production."""

    minimums: Mapping[Metric, Annotated[float, Field(ge=0, le=1)]]
    """Lowest value of each metric on the test rows; at least one."""
    compare: Metric = "macro_f1"
    """The metric of the comparison with production, on the same rows."""
    max_regression: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """How much worse than production a version may be; at 0 it must be shown to be better."""
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
        if not self.minimums:
            raise ValueError("minimums is empty: name at least one metric, e.g. {accuracy: 0.9}")

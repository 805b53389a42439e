"""The `evaluate:` and `gate:` sections of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from modelworks.bounds import Bounds

__all__ = ["METRICS", "EvaluateConfig", "GateConfig", "Metric"]

Metric = Literal["accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall"]
METRICS: tuple[Metric, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How the test rows are scored."""

    confidence: Annotated[float, Bounds(gt=0.5, lt=1)] = 0.95
    """Of every interval."""
    resamples: Annotated[int, Bounds(ge=100)] = 2000
    """Bootstrap resamples behind each interval."""
    worst: Annotated[int, Bounds(ge=0)] = 24
    """How many of the worst mistakes are shown."""


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What a version must reach to become production."""

    minimums: Mapping[Metric, Annotated[float, Bounds(ge=0, le=1)]]
    """Lowest value of each metric on the test rows; at least one."""
    compare: Metric = "macro_f1"
    """The metric of the comparison with production, on the same rows."""
    tolerance: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """How much worse than production the lower end of the interval may be."""

    def __post_init__(self) -> None:
        if not self.minimums:
            raise ValueError("minimums is empty: name at least one metric, e.g. {accuracy: 0.9}")

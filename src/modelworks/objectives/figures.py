"""Figures and tables of an evaluation as data, drawn by the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Bars", "Figure", "Matrix", "Reliability", "Scatter", "Table"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows of named values; also written to a CSV file."""

    title: str
    file: str
    """The stem of its CSV file, e.g. per_class."""
    rows: Sequence[Mapping[str, Any]]
    """One mapping per row, all with the same keys in the same order. Floats are shown with four digits."""
    bar: str = ""
    """A column that is also drawn as a bar from 0 to 1; empty for none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """Counts of (true, predicted) pairs: int64 (classes, classes), a row per true class."""

    title: str
    file: str
    counts: np.ndarray[Any, Any]
    names: Sequence[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """Calibration of probabilities in bins of equally many rows; arrays are (bins,)."""

    title: str
    file: str
    error: float
    """Expected calibration error."""
    sure: np.ndarray[Any, Any]
    """Probability of each answer, float64 (rows,)."""
    predicted: np.ndarray[Any, Any]
    """Mean probability of each bin."""
    hits: np.ndarray[Any, Any]
    """Number of right rows in each bin."""
    rows: np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scatter:
    """Points (rows,) with a reference line, e.g. predicted against true values, or residuals."""

    title: str
    file: str
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    x_label: str
    y_label: str
    line: Literal["diagonal", "zero"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bars:
    """A histogram: counts (bins,) between edges (bins + 1,)."""

    title: str
    file: str
    counts: np.ndarray[Any, Any]
    edges: np.ndarray[Any, Any]
    x_label: str


Figure = Matrix | Reliability | Scatter | Bars

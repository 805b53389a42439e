"""The `objective:` section of a config, one class per kind.

A section declares what its objective needs and measures, so that a config is checked without importing NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

__all__ = ["KINDS", "Classification", "ObjectiveConfig"]

Better = Literal["max", "min"]


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One class of several for each row, by cross-entropy."""

    targets: ClassVar[Mapping[str, str]] = {"label": "label"}
    """Target columns and the kind of feature of each, as `targets` of the objective's class."""
    output: ClassVar[Literal["example", "position"]] = "example"
    metrics: ClassVar[Mapping[str, Better]] = {
        "macro_f1": "max",
        "accuracy": "max",
        "balanced_accuracy": "max",
        "macro_precision": "max",
        "macro_recall": "max",
        "log_loss": "min",
    }
    """What gate and monitor may name, as `METRICS` of the objective's class."""
    shares: ClassVar[frozenset[str]] = frozenset(metrics) - {"log_loss"}
    """Metrics that lie between 0 and 1."""
    row_better: ClassVar[Better] = "max"
    """As of the objective's class: whether a high score of a row is the good one."""

    kind: Literal["classification"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567)."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs each class by the inverse of its number of training rows."""


ObjectiveConfig = Classification
KINDS = ("classification",)

"""The `objective:` section of a config, one class per kind.

A section declares the targets and metrics of its objective, so that a config is checked without importing NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args, get_type_hints

from pydantic import Field

__all__ = ["KINDS", "Classification", "Multilabel", "ObjectiveConfig", "Regression"]

Better = Literal["max", "min"]


class Section:
    """Attributes that every section declares; a test compares them with the objective's class."""

    targets: ClassVar[Mapping[str, str]]
    """Target columns and the kind of feature of each."""
    output: ClassVar[Literal["example", "position"]] = "example"
    METRICS: ClassVar[Mapping[str, Better]]
    """Metrics for gate and monitor; the first is the default of `gate.compare`."""
    shares: ClassVar[frozenset[str]] = frozenset()
    """Metrics with values from 0 to 1."""
    row_better: ClassVar[Better] = "max"
    """Whether high (`max`) or low (`min`) row scores are better."""

    @property
    def metrics(self) -> Mapping[str, Better]:
        """The metrics of this pipeline."""
        return self.METRICS


@dataclass(frozen=True, kw_only=True)
class Classification(Section):
    """Single-label classification with cross-entropy."""

    targets: ClassVar[Mapping[str, str]] = {"label": "label"}
    METRICS: ClassVar[Mapping[str, Better]] = {
        "macro_f1": "max",
        "accuracy": "max",
        "balanced_accuracy": "max",
        "macro_precision": "max",
        "macro_recall": "max",
        "log_loss": "min",
        "calibration_error": "min",
        "roc_auc": "max",
        "average_precision": "max",
    }
    OF_POSITIVE: ClassVar[Mapping[str, Better]] = {
        "positive_f1": "max",
        "positive_precision": "max",
        "positive_recall": "max",
    }
    """Metrics of the class `positive`."""
    shares: ClassVar[frozenset[str]] = frozenset({*METRICS, *OF_POSITIVE} - {"log_loss"})

    kind: Literal["classification"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target distributed over all classes (Szegedy et al. 2016, arXiv:1512.00567)."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs each class by the inverse of its number of training rows."""
    positive: str = ""
    """The class of interest: its F1, precision and recall become metrics (`positive_f1`, ...), and ROC AUC and average
    precision are those of this class."""

    @property
    def metrics(self) -> Mapping[str, Better]:
        return {**self.METRICS, **(self.OF_POSITIVE if self.positive else {})}


@dataclass(frozen=True, kw_only=True)
class Regression(Section):
    """A number for each row."""

    targets: ClassVar[Mapping[str, str]] = {"number": "number"}
    METRICS: ClassVar[Mapping[str, Better]] = {"mae": "min", "rmse": "min", "r2": "max"}
    row_better: ClassVar[Better] = "min"

    kind: Literal["regression"]
    loss: Literal["gaussian", "huber"] = "gaussian"
    """`gaussian` is half the squared error; `huber` is linear beyond `delta`, so outliers have less influence (Huber
    1964, doi:10.1214/aoms/1177703732)."""
    delta: Annotated[float, Field(gt=0)] = 1.0
    """For `huber`, in standard deviations of the training rows."""


@dataclass(frozen=True, kw_only=True)
class Multilabel(Section):
    """Multi-label classification with binary cross-entropy and tuned thresholds."""

    targets: ClassVar[Mapping[str, str]] = {"labels": "labels"}
    METRICS: ClassVar[Mapping[str, Better]] = {
        "micro_f1": "max",
        "macro_f1": "max",
        "subset_accuracy": "max",
        "log_loss": "min",
    }
    shares: ClassVar[frozenset[str]] = frozenset({*METRICS} - {"log_loss"})

    kind: Literal["multilabel"]


ObjectiveConfig = Annotated[Classification | Regression | Multilabel, Field(discriminator="kind")]
KINDS: tuple[str, ...] = tuple(
    get_args(get_type_hints(section)["kind"])[0] for section in get_args(get_args(ObjectiveConfig)[0])
)

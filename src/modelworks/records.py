"""The frozen records that stages pass on; each holds the record of the stage before it.

    DatasetVersion > ValidationReport > TrainedModel > Evaluation > ModelVersion > Verdict > Promotion

Records hold paths, digests and numbers, not tensors or tables; `record_json` writes and reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

__all__ = [
    "Changes",
    "Check",
    "DatasetVersion",
    "Decision",
    "Evaluation",
    "Interval",
    "ModelVersion",
    "Promotion",
    "TrainedModel",
    "ValidationReport",
    "Verdict",
    "decision",
]

INPUT_KINDS: tuple[Literal["image"], Literal["text"], Literal["audio"]] = ("image", "text", "audio")
"""Kinds of features that a model reads; all others are targets."""

Decision = Literal["promote", "reject", "inconclusive"]
EARLIER_DECISIONS = {"keep": "reject", "not enough evidence": "inconclusive"}
"""Names of decisions in versions that earlier releases registered."""


def decision(word: str) -> Decision:
    """Return the current name of a stored decision."""
    return cast("Decision", EARLIER_DECISIONS.get(word, word))


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """A version of `data/<name>/`."""

    name: str
    folder: Path
    digest: str
    """DVC's digest of the data set's subtree: md5 and ".dir", 36 characters."""
    features: Mapping[str, Mapping[str, Any]]
    """The typed columns as JSON values, see `data/features.py`."""
    rows: int
    source: Mapping[str, Any]
    """The source section of the config, with the digest of what was read."""
    licence: str

    @property
    def input(self) -> str:
        """The name of the model's input column."""
        (name,) = (name for name, feature in self.features.items() if feature["kind"] in INPUT_KINDS)
        return name

    @property
    def modality(self) -> str:
        """The kind of the input column."""
        return str(self.features[self.input]["kind"])

    @property
    def targets(self) -> dict[str, Mapping[str, Any]]:
        """The target features by column."""
        return {name: feature for name, feature in self.features.items() if name != self.input}


@dataclass(frozen=True, kw_only=True)
class Check:
    """A required value, the observed value, and whether the check passed."""

    name: str
    passed: bool
    observed: str
    required: str
    hint: str = ""
    """How to fix a failure; may be empty."""


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """The validation result; its folder holds `splits.npy`, `report.json` and `quarantine.json`."""

    dataset: DatasetVersion
    key: str
    folder: Path
    checks: tuple[Check, ...]
    quarantined: int
    """Number of rows left out, listed with reasons in quarantine.json."""
    warnings: tuple[str, ...]
    rows: Mapping[str, int]
    """Usable rows per split: train, validation, test."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A saved model in `folder/model`, and its training log `events.jsonl`."""

    report: ValidationReport
    key: str
    folder: Path
    num_parameters: int
    num_steps: int
    seconds: float
    """Wall time in the training loop, summed over all attempts."""
    examples_per_second: float
    device: str
    precision: str
    threads: int
    processes: int
    shard: bool
    precision_source: str = "config"
    """What decided the precision, see `training/hardware.py`."""
    product_rates: Mapping[str, float] = field(default_factory=dict)
    """Measured GFLOP/s that decided the precision; empty without a measurement."""

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The test rows scored; its folder holds `predictions.parquet` and `near_duplicates.json`."""

    trained: TrainedModel
    key: str
    folder: Path
    rows: int
    metrics: Mapping[str, Interval]
    baseline: Mapping[str, float] = field(default_factory=dict)
    """The metrics of the trivial baseline, fitted to the training targets, on the same rows."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version in MLflow's registry."""

    evaluation: Evaluation
    key: str
    """The pipeline key: the idempotency key of the registration."""
    name: str
    version: int
    run_id: str
    experiment_id: str
    digest: str
    """SHA-256 of the package's file listing."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Test rows whose answers change if the candidate replaces production."""

    rows: int
    fixed: int
    """Rows on which the candidate scores better than production."""
    broken: int
    """Rows on which it scores worse."""
    otherwise: int
    """Rows with equal scores and different answers."""
    p_value: float
    """Two-sided p-value of McNemar's exact test on `fixed` and `broken`."""
    calibration_error: float | None = None
    """The candidate's, over bins of equal size; None if answers have no probabilities."""
    baseline_calibration_error: float | None = None

    @property
    def churn(self) -> float:
        """The share of rows with a different answer."""
        return (self.fixed + self.broken + self.otherwise) / self.rows


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The gate's decision about a version, and its checks."""

    version: ModelVersion
    key: str
    decision: Decision
    checks: tuple[Check, ...]
    baseline: int
    """The production version that it was compared with; 0 if there was none."""
    remarks: tuple[str, ...] = ()
    """Notes for people; they do not affect the decision."""
    changes: Changes | None = None
    """None if no production version was scored on the same rows."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line per check."""
        return tuple(
            f"{'passed' if check.passed else 'failed'}: {check.name} is {check.observed}, required {check.required}"
            for check in self.checks
        )


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The result of the last stage."""

    verdict: Verdict
    moved: bool
    production: int
    """The current production version; 0 if there is none."""

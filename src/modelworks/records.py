"""The frozen records that travel from stage to stage; each later one holds the earlier one.

    DatasetVersion > ValidationReport > TrainedModel > Evaluation > ModelVersion > Verdict > Promotion

Records hold paths, digests and small figures, never tensors or tables; `record_json` writes and reads them.
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
"""Words that versions registered by earlier releases bear."""


def decision(word: str) -> Decision:
    """Return the decision that a stored word means."""
    return cast("Decision", EARLIER_DECISIONS.get(word, word))


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """One observed state of `data/<name>/`."""

    name: str
    folder: Path
    digest: str
    """DVC's digest of the dataset's own subtree: md5 and ".dir", 36 characters."""
    features: Mapping[str, Mapping[str, Any]]
    """The typed columns (see `data/features.py`), as JSON values."""
    rows: int
    source: Mapping[str, Any]
    """The source as the config names it, with the digest of what was read."""
    licence: str

    @property
    def input(self) -> str:
        """The name of the column that a model reads."""
        (name,) = (name for name, feature in self.features.items() if feature["kind"] in INPUT_KINDS)
        return name

    @property
    def modality(self) -> str:
        """The kind of the input column."""
        return str(self.features[self.input]["kind"])

    @property
    def targets(self) -> dict[str, Mapping[str, Any]]:
        """The features that a model learns, by column."""
        return {name: feature for name, feature in self.features.items() if name != self.input}


@dataclass(frozen=True, kw_only=True)
class Check:
    """A requirement, and whether what was observed meets it."""

    name: str
    passed: bool
    observed: str
    required: str
    hint: str = ""
    """What to do where it failed; empty where nothing more can be said."""


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """What Great Expectations found; its folder holds `splits.npy`, `report.json` and `quarantine.json`."""

    dataset: DatasetVersion
    key: str
    folder: Path
    checks: tuple[Check, ...]
    quarantined: int
    """Rows left out of training and testing, listed with reasons in quarantine.json."""
    warnings: tuple[str, ...]
    rows: Mapping[str, int]
    """Usable rows per split: train, validation, test."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A saved model (see `models/saved_model.py`) in `folder/model`, and `events.jsonl` of how it came about."""

    report: ValidationReport
    key: str
    folder: Path
    num_parameters: int
    num_steps: int
    seconds: float
    """Wall time inside the training loop, all attempts together."""
    examples_per_second: float
    device: str
    precision: str
    threads: int
    processes: int
    shard: bool
    precision_source: str = "config"
    """What decided the precision, see `training/hardware.py`."""
    product_rates: Mapping[str, float] = field(default_factory=dict)
    """GFLOP/s that a measurement decided it by; empty without one."""

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its confidence interval."""

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
    """The metrics of the trivial answer, learned from the training targets alone, on the same rows."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version in MLflow's registry."""

    evaluation: Evaluation
    key: str
    """The pipeline key: the idempotency key under which this version was registered once."""
    name: str
    version: int
    run_id: str
    experiment_id: str
    digest: str
    """SHA-256 of the stored package's tree."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What those who use the production version would notice if the candidate took its place, in test rows."""

    rows: int
    fixed: int
    """The candidate scores better than production."""
    broken: int
    """It scores worse."""
    otherwise: int
    """Both score alike, and answer differently."""
    p_value: float
    """McNemar's exact test, two-sided: how likely so uneven a split of `fixed` and `broken` is between equal models."""
    calibration_error: float | None = None
    """The candidate's, over bins of equally many rows; None where answers have no probabilities."""
    opponent_calibration_error: float | None = None

    @property
    def churn(self) -> float:
        """The share of rows that would be answered differently."""
        return (self.fixed + self.broken + self.otherwise) / self.rows


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate decided about a version and why."""

    version: ModelVersion
    key: str
    decision: Decision
    checks: tuple[Check, ...]
    opponent: int
    """The production version it was compared with; 0 when there was none."""
    remarks: tuple[str, ...] = ()
    """What a person should know beside the checks; it decides nothing."""
    changes: Changes | None = None
    """None without an opponent that answers the same rows."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line per check, for people."""
        return tuple(
            f"{'passed' if check.passed else 'failed'}: {check.name} is {check.observed}, required {check.required}"
            for check in self.checks
        )


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The last stage's outcome: what production is now."""

    verdict: Verdict
    moved: bool
    production: int
    """The version that the production alias names now; 0 for none."""

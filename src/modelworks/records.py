"""The frozen records that travel from stage to stage; each later one holds the earlier one.

    DatasetVersion > ValidationReport > TrainedModel > Evaluation > ModelVersion > Verdict > Promotion

Records hold paths, digests and small figures, never tensors or tables. In JSON a path is relative to
the project's root, so that a project folder can be moved.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

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
    "from_json",
    "to_json",
]

INPUT_KINDS: tuple[Literal["image"], Literal["text"], Literal["audio"]] = ("image", "text", "audio")
"""Kinds of features that a model reads; all others are targets."""

Decision = Literal["promote", "keep", "not enough evidence"]


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

    @property
    def classes(self) -> tuple[str, ...]:  # until evaluation and registry ask the objective
        """Sorted class names."""
        return tuple(self.targets["label"]["classes"])


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question that was asked, what was found, and what was demanded."""

    name: str
    passed: bool
    found: str
    demanded: str


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
    """Production is wrong, the candidate right."""
    broken: int
    """Production is right, the candidate wrong."""
    otherwise: int
    """Both are wrong, and differ."""
    p_value: float
    """McNemar's exact test, two-sided: how likely so uneven a split of `fixed` and `broken` is between equal models."""
    calibration_error: float
    """The candidate's, over bins of equally many rows."""
    opponent_calibration_error: float

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
            f"{'passed' if check.passed else 'failed'}: {check.name} is {check.found}, demanded {check.demanded}"
            for check in self.checks
        )


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The last stage's outcome: what production is now."""

    verdict: Verdict
    moved: bool
    production: int
    """The version that the production alias names now; 0 for none."""


R = TypeVar("R")


def to_json(value: Any, root: Path) -> Any:
    """A record as JSON values; paths below `root` become relative to it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name), root) for field in dataclasses.fields(value)}
    if isinstance(value, Path):
        return value.relative_to(root).as_posix() if value.is_relative_to(root) else str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item, root) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item, root) for item in value]
    return value


def from_json(kind: type[R], value: Any, root: Path) -> R:
    """The record that `to_json` wrote; relative paths are below `root`."""
    return typing.cast("R", _decode(kind, value, root))


def _decode(kind: Any, value: Any, root: Path) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _decode(hints[name], item, root) for name, item in value.items()})
    if kind is Path:
        return root / value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # a record or None
        return None if value is None else _decode(arguments[0], value, root)
    if origin is tuple:
        return tuple(_decode(arguments[0], item, root) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _decode(arguments[1], item, root) for key, item in value.items()}
    return value

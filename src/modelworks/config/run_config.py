"""Load a pipeline from a YAML file with overrides, and report all mistakes at once.

Each component has its section class beside its code; this file only composes them.
`python -m modelworks.config` prints the JSON Schema that editors read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from modelworks.config.compatibility import mismatches
from modelworks.config.error_messages import in_words
from modelworks.config.yaml_document import Document, yaml_text
from modelworks.data.sources import SourceConfig
from modelworks.data.splits import SplitConfig
from modelworks.errors import BadInput
from modelworks.evaluation.config import EvaluateConfig, GateConfig
from modelworks.models.config import ModelConfig, recommended
from modelworks.objectives.config import Classification, ObjectiveConfig
from modelworks.training.config import ComputeConfig, TrainConfig
from modelworks.validation.config import ChecksConfig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RunConfig", "ScheduleConfig", "json_schema", "load"]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """When `modelworks up` runs this pipeline; runs never overlap."""

    cron: str
    """Five fields, as in crontab: minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"
    """IANA name of the time zone. Daylight saving time skips or repeats hours; UTC does not."""

    def __post_init__(self) -> None:
        from datetime import datetime
        from zoneinfo import ZoneInfo

        from cronsim import CronSim, CronSimError

        try:
            zone = ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"timezone {self.timezone!r} is not an IANA name such as UTC or Europe/Berlin") from None
        try:
            CronSim(self.cron, datetime.now(zone))
        except CronSimError as error:
            raise ValueError(f"cron {self.cron!r}: {str(error).lower()}; five fields, e.g. '0 2 * * *'") from None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The config of a complete pipeline."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "use_attribute_docstrings": True,
    }

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    """The registered model's name: lower-case words joined by dashes."""
    source: SourceConfig
    """Where the data comes from."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Which rows are for training, validation and testing."""
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    """Checks that the data must pass before training."""
    model: ModelConfig
    """The architecture."""
    objective: ObjectiveConfig = field(default_factory=lambda: Classification(kind="classification"))
    """What the model predicts for each row."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How the model is trained; fields that are left out have the architecture's recommended values."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """The hardware that the training runs on."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How the test rows are scored."""
    gate: GateConfig
    """Requirements for a version to become production."""
    schedule: ScheduleConfig | None = None
    """Leave out for a pipeline that only runs on command."""

    def __post_init__(self) -> None:
        wrong = list(
            mismatches(source=self.source, model=self.model, objective=self.objective, train=self.train, gate=self.gate)
        )
        if self.train.compile and max(self.compute.processes, self.compute.workers) > 1:
            wrong.append("train.compile requires a training in one process")
        if wrong:
            raise ValueError("\n".join(wrong))

    def section(self, *names: str) -> dict[str, Any]:
        """Return the named sections as JSON values, by name."""
        return {name: _plain(getattr(self, name)) for name in names}

    @property
    def values(self) -> dict[str, Any]:
        """All sections as JSON values, under their names."""
        return self.section(*(item.name for item in dataclasses.fields(self)))

    @property
    def text(self) -> str:
        """The complete config as YAML: a config of its own, with no field left out."""
        return yaml_text(self.values)


def load(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Load a YAML file with `section.key=value` overrides and fill in every default.

    Raises:
        BadInput: lists every mistake with its location and a suggestion.
    """
    document = Document.read(path)
    for assignment in overrides:
        document.override(assignment)
    return _build(document)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config file."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(RunConfig).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _build(document: Document) -> RunConfig:
    from pydantic import TypeAdapter, ValidationError

    try:
        text = json.dumps(_completed(document.values), default=str)
    except (TypeError, ValueError) as error:  # a key that is not a string, or an alias inside its own anchor
        raise BadInput(
            f"{document.path}: {error}",
            "use strings as keys, and no alias that contains itself",
            code="config.not-json",
        ) from None
    errors: Iterable[Mapping[str, Any]] = ()
    try:
        # Strict JSON mode: "8" is not a number and 1 is not true, but a list is a tuple and an integer is a float.
        config = TypeAdapter(RunConfig).validate_json(text, strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    mistakes = in_words(document, RunConfig, errors)
    if not mistakes:
        return config
    if len(mistakes) > 1:
        mistakes = [f"{document.path}: {len(mistakes)} mistakes", *(f"  {each}" for each in mistakes)]
    raise BadInput("\n".join(mistakes), "see configs/schema.json for every field", code="config.invalid")


def _completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's values, with recommended values for missing fields of `train`."""
    model, train = values.get("model"), values.get("train", {})
    kind = model.get("kind") if isinstance(model, dict) else None
    if not isinstance(train, dict):
        return dict(values)
    return {**values, "train": {**recommended(kind), **train}}


def _plain(value: Any) -> Any:  # a section class or a value in one
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value

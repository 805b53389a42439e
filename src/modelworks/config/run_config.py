"""One YAML file is one complete pipeline: load it, override it, and say every mistake at once.

Each component keeps its own section class beside its code; this file only composes them.
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
    """When `modelworks up` runs this pipeline by itself; runs never overlap."""

    cron: str
    """Five fields, as in crontab: minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"
    """An IANA name. Daylight saving skips or repeats hours: UTC does not."""

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
    """A whole pipeline."""

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
    """Which rows are trained on and which are held back."""
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    """What the data must satisfy before anything is trained on it."""
    model: ModelConfig
    """The architecture."""
    objective: ObjectiveConfig = field(default_factory=lambda: Classification(kind="classification"))
    """What the model learns of each row."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How its weights are found; what is left out is as the architecture recommends."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """What the training runs on."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How the test rows are scored."""
    gate: GateConfig
    """What a version must reach to become production."""
    schedule: ScheduleConfig | None = None
    """Leave out for a pipeline that only runs when asked."""

    def __post_init__(self) -> None:
        wrong = list(
            mismatches(source=self.source, model=self.model, objective=self.objective, train=self.train, gate=self.gate)
        )
        if self.train.compile and max(self.compute.processes, self.compute.workers) > 1:
            wrong.append("train.compile is for a training in one process")
        if wrong:
            raise ValueError("\n".join(wrong))

    def section(self, *names: str) -> dict[str, Any]:
        """The named sections as JSON values, under their names."""
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
    """The pipeline in a YAML file, with `section.key=value` overrides, and complete: no field is left open.

    Raises:
        BadInput: every mistake found, each with its place and a suggestion.
    """
    document = Document.read(path)
    for assignment in overrides:
        document.override(assignment)
    return _build(document)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a config file."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(RunConfig).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _build(document: Document) -> RunConfig:
    from pydantic import TypeAdapter, ValidationError

    try:
        text = json.dumps(_completed(document.values), default=str)
    except (TypeError, ValueError) as error:  # a key that is no text, or an alias inside its own anchor
        raise BadInput(
            f"{document.path}: {error}", "write plain keys, and let no alias contain itself", code="config.not-json"
        ) from None
    errors: Iterable[Mapping[str, Any]] = ()
    try:
        # Strict JSON: "8" is no number and 1 is not true, but a list is a tuple and an integer is a float.
        config = TypeAdapter(RunConfig).validate_json(text, strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    mistakes = in_words(document, RunConfig, errors)
    if not mistakes:
        return config
    if len(mistakes) > 1:
        mistakes = [f"{document.path}: {len(mistakes)} mistakes", *(f"  {each}" for each in mistakes)]
    raise BadInput("\n".join(mistakes), "configs/schema.json describes every field", code="config.invalid")


def _completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config; fields of `train` that are left out are as the architecture recommends."""
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

"""Check that the source, model, objective, training and gate of a config are compatible."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING

from modelworks.data.features import inputs, targets
from modelworks.modalities.base import processor_class
from modelworks.training.config import AugmentConfig

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from modelworks.data.sources import SourceConfig
    from modelworks.evaluation.config import GateConfig
    from modelworks.models.config import ModelConfig
    from modelworks.objectives.config import ObjectiveConfig
    from modelworks.training.config import TrainConfig

__all__ = ["mismatches"]


def mismatches(
    *, source: SourceConfig, model: ModelConfig, objective: ObjectiveConfig, train: TrainConfig, gate: GateConfig
) -> Iterator[str]:
    """Yield a message for each mismatch; each starts with the name of the field to change."""
    (kind,) = (feature["kind"] for feature in inputs(source.features).values())
    if kind != model.modality:
        yield f"model.kind {model.kind} reads {model.modality}s, but source.kind {source.kind} has {kind}s"
    for column, kind in objective.targets.items():
        if source.features.get(column, {}).get("kind") != kind:
            given = " and ".join(targets(source.features))
            yield f"objective.kind {objective.kind} needs a {kind}, but source.kind {source.kind} has a {given}"
    if objective.output not in model.outputs:
        yield (
            f"model.kind {model.kind} returns one vector per {' or '.join(model.outputs)}, but objective.kind "
            f"{objective.kind} needs one per {objective.output}"
        )
    yield from _gate_mismatches(objective, gate)
    monitors = ["validation_loss", *(f"validation_{name}" for name in objective.metrics)]
    if train.monitor not in monitors:
        yield f"train.monitor {train.monitor} is not measured for {objective.kind}{_nearest(train.monitor, monitors)}"
    yield from _modality_mismatches(model, train)


def _gate_mismatches(objective: ObjectiveConfig, gate: GateConfig) -> Iterator[str]:
    for field, limits, better in (("minimums", gate.minimums, "max"), ("maximums", gate.maximums, "min")):
        for name, limit in limits.items():
            if name not in objective.metrics:
                yield f"gate.{field}.{name} is not a metric of {objective.kind}{_nearest(name, objective.metrics)}"
            elif objective.metrics[name] != better:
                good, other = ("high", "minimums") if better == "min" else ("low", "maximums")
                yield f"gate.{field}.{name} limits the wrong side: {good} values are better; use gate.{other}"
            elif name in objective.shares and not 0 <= limit <= 1:
                yield f"gate.{field}.{name} is {limit:g}, but {name} is between 0 and 1"
    if gate.compare and gate.compare not in objective.metrics:
        near = _nearest(gate.compare, objective.metrics)
        yield f"gate.compare {gate.compare} is not a metric of {objective.kind}{near}"
    if (gate.compare or next(iter(objective.metrics))) in objective.shares and gate.max_regression >= 1:
        yield f"gate.max_regression {gate.max_regression:g} has no effect: the metric is between 0 and 1"
    if gate.slices is not None:
        field, other = ("maximum", "minimum") if objective.row_better == "max" else ("minimum", "maximum")
        if getattr(gate.slices, field) is not None:
            yield f"gate.slices.{field} limits the wrong side for {objective.kind}; use gate.slices.{other}"


def _modality_mismatches(model: ModelConfig, train: TrainConfig) -> Iterator[str]:
    processor = processor_class(model.modality)
    default = AugmentConfig()
    for field in dataclasses.fields(default):
        is_set = getattr(train.augment, field.name) != getattr(default, field.name)
        if is_set and field.name not in processor.augmentations:
            yield f"train.augment.{field.name} does not apply to {model.modality}s, which model.kind {model.kind} reads"
    if train.batch_tokens and not processor.has_tokens:
        yield f"train.batch_tokens counts tokens, but model.kind {model.kind} reads {model.modality}s"


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; use one of: {', '.join(known)}"

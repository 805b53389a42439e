"""Types of the columns of a data set, as in Hugging Face datasets' `Features`.

A data set stores its features as JSON: `{"text": {"kind": "text"}, "label": {"kind": "label", "classes": [...]}}`.
A model reads the inputs and predicts the targets. Further columns identify rows and define slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from modelworks.records import INPUT_KINDS

__all__ = ["INPUTS", "TARGETS", "Features", "InputKind", "TargetKind", "inputs", "targets", "targets_in_words"]

InputKind = Literal["image", "text", "audio"]
"""`image` and `audio` are encoded files (binary), `text` is a string."""

TargetKind = Literal["label", "labels", "number"]
"""`label` is one class name (string), `labels` is a set of class names (list of strings), `number` is a float64. A
`label` and `labels` also have `classes`, their sorted names."""

INPUTS: tuple[InputKind, ...] = INPUT_KINDS
TARGETS: tuple[TargetKind, ...] = ("label", "labels", "number")

Features = Mapping[str, Mapping[str, Any]]
"""By column: `kind` and its attributes."""


def inputs(features: Features) -> dict[str, Mapping[str, Any]]:
    """Return the input features, in order."""
    return {name: feature for name, feature in features.items() if feature["kind"] in INPUTS}


def targets(features: Features) -> dict[str, Mapping[str, Any]]:
    """Return the target features, in order."""
    return {name: feature for name, feature in features.items() if feature["kind"] in TARGETS}


def targets_in_words(features: Features) -> str:
    """Return the targets as text, e.g. "label of 10 classes"."""
    return ", ".join(
        f"{name} of {len(feature['classes'])} classes" if "classes" in feature else name
        for name, feature in targets(features).items()
    )

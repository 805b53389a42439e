"""The kinds of columns that a row of data has, as in Hugging Face datasets' `Features`.

A data set keeps its features as JSON: `{"text": {"kind": "text"}, "label": {"kind": "label", "classes": [...]}}`.
Inputs are what a model reads, targets what it learns. Further columns are kept to name rows and to slice by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from modelworks.records import INPUT_KINDS

__all__ = ["INPUTS", "TARGETS", "Features", "InputKind", "TargetKind", "inputs", "targets"]

InputKind = Literal["image", "text", "audio"]
"""`image` and `audio` are encoded files (binary), `text` is a string."""

TargetKind = Literal["label", "labels", "number"]
"""`label` is one class name (string), `labels` is a set of class names (list of strings), `number` is a float64. A
`label` and `labels` also have `classes`, their sorted names."""

INPUTS: tuple[InputKind, ...] = INPUT_KINDS
TARGETS: tuple[TargetKind, ...] = ("label", "labels", "number")

Features = Mapping[str, Mapping[str, Any]]
"""By column: `kind`, and what the kind has beside it."""


def inputs(features: Features) -> dict[str, Mapping[str, Any]]:
    """The input features, in order."""
    return {name: feature for name, feature in features.items() if feature["kind"] in INPUTS}


def targets(features: Features) -> dict[str, Mapping[str, Any]]:
    """The target features, in order."""
    return {name: feature for name, feature in features.items() if feature["kind"] in TARGETS}

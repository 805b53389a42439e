"""Convert records to and from JSON with paths relative to the project."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from modelworks.records import Changes, Check, DatasetVersion, Decision, Verdict, decision

__all__ = ["features", "from_json", "to_json", "verdict"]

R = TypeVar("R")

EARLIER_FIELDS: Mapping[type[Any], Mapping[str, str]] = {
    Check: {"found": "observed", "demanded": "required"},
    Changes: {"opponent_calibration_error": "baseline_calibration_error"},
    Verdict: {"opponent": "baseline"},
}
"""Old field name to current field name, for records of earlier releases."""


def to_json(value: Any, root: Path) -> Any:
    """Return a record as JSON values; paths below `root` become relative to it."""
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
    """Return the record that `to_json` wrote in this or an earlier release."""
    return typing.cast("R", _decode(kind, value, root))


def _decode(kind: Any, value: Any, root: Path) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return kind(**_fields(kind, value, root))
    if kind is Path:
        return root / value
    if kind == Decision:
        return decision(value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # a record or None
        return None if value is None else _decode(arguments[0], value, root)
    if origin is tuple:
        return tuple(_decode(arguments[0], item, root) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _decode(arguments[1], item, root) for key, item in value.items()}
    return value


def _fields(kind: Any, stored: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the fields of a record from JSON."""
    hints = typing.get_type_hints(kind)
    if kind is DatasetVersion and "features" not in stored:
        stored = {name: item for name, item in stored.items() if name not in ("modality", "classes")} | {
            "features": features(stored)
        }
    return {name: _decode(hints[name], item, root) for name, item in _renamed(kind, stored).items()}


def _renamed(kind: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored fields by their current names."""
    names = EARLIER_FIELDS.get(kind, {})
    return {names.get(name, name): item for name, item in stored.items()}


def verdict(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a verdict with current field and decision names."""
    found = _renamed(Verdict, stored)
    changes = {"changes": _renamed(Changes, found["changes"])} if found.get("changes") else {}
    return {
        **found,
        **changes,
        "decision": decision(found["decision"]),
        "checks": [_renamed(Check, check) for check in found["checks"]],
        "slices": [_slice(each) for each in found.get("slices", ())],
    }


def _slice(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a slice; earlier releases stored accuracies, and the gain is their difference."""
    names = {"accuracy": "score", "opponent": "baseline"}
    found = {names.get(name, name): value for name, value in stored.items()}
    if "gain" not in found:
        found["gain"] = None if found["baseline"] is None else found["score"] - found["baseline"]
    return found


def features(dataset: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the features in a data version's JSON, also of earlier releases."""
    if "features" in dataset:
        return dict(dataset["features"])
    modality = dataset["modality"]
    return {modality: {"kind": modality}, "label": {"kind": "label", "classes": dataset["classes"]}}

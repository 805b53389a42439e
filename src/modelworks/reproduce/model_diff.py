"""Compare two saved models: every file, and tensors and predictions bit by bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from modelworks.evaluation import inference
from modelworks.models import serialization

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.objectives.row_statistics import Columns

__all__ = ["Comparison", "TensorDifference", "compare"]


@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """A tensor that differs."""

    name: str
    values: int
    """Number of elements; 0 if name, shape or dtype differ."""
    changed: int
    """Number of elements that differ in any bit."""
    largest: float
    """The largest absolute difference; infinite if it is undefined."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The differences between the registered and the rebuilt model."""

    tensors: int
    different_tensors: tuple[TensorDifference, ...]
    """The largest difference first."""
    predictions: int
    """Number of test rows."""
    different_predictions: int
    """Rows that differ in any bit, or that only one of them has."""
    flipped: int
    """Rows with different answers."""
    largest_disagreement: float
    """See `Objective.disagreement`; infinite if it is undefined."""
    different_files: tuple[str, ...]
    """Files of the saved model that differ, except the weights."""

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not (self.different_tensors or self.different_predictions or self.different_files)


def compare(registered: Path, rebuilt: Path, *, registered_predictions: Path, rebuilt_predictions: Path) -> Comparison:
    """Compare two saved models and their predictions.

    Args:
        registered: the saved model in the registry.
        rebuilt: the rebuilt saved model.
        registered_predictions: the folder with the recorded predictions.
        rebuilt_predictions: the folder with those of the rebuilt model.

    Raises:
        Corrupt: predictions cannot be read.
    """
    names, different = _tensors(registered / "model.safetensors", rebuilt / "model.safetensors")
    before, after = (json.loads((folder / serialization.MANIFEST).read_text()) for folder in (registered, rebuilt))
    files = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    rows, changed, flipped, largest = _predictions(registered_predictions, rebuilt_predictions)
    return Comparison(
        tensors=names,
        different_tensors=tuple(sorted(different, key=lambda each: -each.largest)),
        predictions=rows,
        different_predictions=changed,
        flipped=flipped,
        largest_disagreement=largest,
        different_files=tuple(name for name in files if name != "model.safetensors"),
    )


def _tensors(registered: Path, rebuilt: Path) -> tuple[int, list[TensorDifference]]:
    from safetensors import safe_open

    different = []
    # One tensor at a time, so that two models need not fit into memory.
    with safe_open(registered, "pt") as before, safe_open(rebuilt, "pt") as after:
        known, found = set(before.keys()), set(after.keys())
        for name in sorted(known | found):
            if name not in known or name not in found:
                different.append(TensorDifference(name=name, values=0, changed=0, largest=float("inf")))
                continue
            change = _difference(name, before.get_tensor(name), after.get_tensor(name))
            if change is not None:
                different.append(change)
    return len(known | found), different


def _difference(name: str, before: torch.Tensor, after: torch.Tensor) -> TensorDifference | None:
    if before.shape != after.shape or before.dtype != after.dtype:
        return TensorDifference(name=name, values=0, changed=0, largest=float("inf"))
    ours, theirs = before.reshape(-1), after.reshape(-1)
    # Compared as bits: NaN equals itself, and -0.0 differs from 0.0.
    size = ours.element_size()
    changed = (ours.view(torch.uint8).view(-1, size) != theirs.view(torch.uint8).view(-1, size)).any(dim=-1)
    if not changed.any():
        return None
    gap = (ours[changed].double() - theirs[changed].double()).abs()
    largest = float(gap.nan_to_num(nan=float("inf"), posinf=float("inf")).max())
    return TensorDifference(name=name, values=ours.numel(), changed=int(changed.sum()), largest=largest)


def _predictions(registered: Path, rebuilt: Path) -> tuple[int, int, int, float]:
    """Return numbers of rows, changed rows and changed answers, and the largest disagreement."""
    before, after = inference.read(registered), inference.read(rebuilt)
    rows = max(len(before.ids), len(after.ids))
    ours, theirs = ({**each.truth, **each.predicted} for each in (before, after))
    if before.ids != after.ids or _form(ours) != _form(theirs):
        shared = len(set(before.ids) & set(after.ids))
        return rows, rows - shared or rows, 0, float("inf")
    changed = np.zeros(rows, dtype=bool)
    for name, values in ours.items():
        changed |= (_bits(values) != _bits(theirs[name])).any(axis=-1)
    same = before.objective.same_answers(before.predicted, after.predicted)
    largest = before.objective.disagreement(before.predicted, after.predicted) if rows else 0.0
    return rows, int(changed.sum()), int((~same).sum()), largest


def _form(columns: Columns) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    return {name: (values.dtype, values.shape) for name, values in columns.items()}


def _bits(values: np.ndarray) -> np.ndarray:
    """Return the bytes of each row, as uint8 (rows, bytes per row)."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)

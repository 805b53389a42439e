"""Compare two saved models: every file, every tensor and every predicted column bit by bit."""

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
    """One tensor that is not the same."""

    name: str
    values: int
    """How many it has; 0 when only one of the models has it in this shape."""
    changed: int
    """How many of them differ in any bit."""
    largest: float
    """The largest absolute difference; infinite when it cannot be told."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between the registered model and the one made again."""

    tensors: int
    different_tensors: tuple[TensorDifference, ...]
    """The largest difference first."""
    predictions: int
    """Test rows."""
    different_predictions: int
    """Rows with any other bit in any column, or that only one of them has."""
    flipped: int
    """Rows that the two answer differently."""
    largest_disagreement: float
    """See `Objective.disagreement`; infinite when it cannot be told."""
    different_files: tuple[str, ...]
    """Of the saved model, the tensors' own left out."""

    @property
    def identical(self) -> bool:
        """Whether nothing differs at all."""
        return not (self.different_tensors or self.different_predictions or self.different_files)


def compare(registered: Path, rebuilt: Path, *, said: Path, says: Path) -> Comparison:
    """Compare two saved models, and what they say of the test rows.

    Args:
        registered: the saved model that is in the registry.
        rebuilt: the one made again.
        said: the folder with the predictions that were recorded.
        says: with those of the model made again.

    Raises:
        Corrupt: predictions cannot be read.
    """
    names, different = _tensors(registered / "model.safetensors", rebuilt / "model.safetensors")
    before, after = (json.loads((folder / serialization.MANIFEST).read_text()) for folder in (registered, rebuilt))
    files = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    rows, changed, flipped, largest = _predictions(said, says)
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
    # One tensor at a time: two models need not fit into memory.
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
    # As bits: a NaN equals itself, and -0.0 is not 0.0.
    size = ours.element_size()
    changed = (ours.view(torch.uint8).view(-1, size) != theirs.view(torch.uint8).view(-1, size)).any(dim=-1)
    if not changed.any():
        return None
    gap = (ours[changed].double() - theirs[changed].double()).abs()
    largest = float(gap.nan_to_num(nan=float("inf"), posinf=float("inf")).max())
    return TensorDifference(name=name, values=ours.numel(), changed=int(changed.sum()), largest=largest)


def _predictions(said: Path, says: Path) -> tuple[int, int, int, float]:
    """Rows, rows that differ, rows that are answered differently, the largest disagreement."""
    before, after = inference.read(said), inference.read(says)
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
    """uint8 (rows, bytes of one)."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)

"""Two saved models side by side: every file, every tensor bit by bit, every prediction."""

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
    """Rows with any other bit in any predicted column, or that only one of them has."""
    flipped: int
    """Rows that are answered otherwise."""
    largest_difference: float
    """The largest difference between the answers, on the objective's scale (of a class: of its probability)."""
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
        largest_difference=largest,
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
    """Rows, rows that differ in any bit, rows that are answered otherwise, the objective's largest difference."""
    before, after = inference.read(said), inference.read(says)
    if before.ids != after.ids or _shapes(before) != _shapes(after):
        shared = len(set(before.ids) & set(after.ids))
        rows = max(len(before.ids), len(after.ids))
        return rows, rows - shared or rows, 0, float("inf")
    changed = np.zeros(len(before.ids), dtype=bool)
    for ours, theirs in ((before.truth, after.truth), (before.predicted, after.predicted)):
        for name in ours:
            changed |= (_row_bits(ours[name]) != _row_bits(theirs[name])).any(axis=1)
    objective = before.objective
    flipped = int((~objective.same_answers(before.predicted, after.predicted)).sum())
    largest = objective.disagreement(before.predicted, after.predicted) if before.ids else 0.0
    return len(before.ids), int(changed.sum()), flipped, largest


def _shapes(predictions: inference.Predictions) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every column."""
    columns = {**predictions.truth, **predictions.predicted}
    return {name: (values.dtype.str, values.shape) for name, values in columns.items()}


def _row_bits(values: np.ndarray) -> np.ndarray:
    """uint8 (rows, bytes of one row)."""
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    return rows.view(np.uint8).reshape(len(values), -1)

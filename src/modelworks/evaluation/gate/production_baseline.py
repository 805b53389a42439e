"""The other side of the comparison: what the model in production predicts for the candidate's test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelworks.objectives.base import Columns
    from modelworks.records import Evaluation

__all__ = ["Baseline", "score_baseline", "trained_on"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """A version to compare the candidate with."""

    version: int
    incomparable: str
    """Why its answers cannot be compared with the candidate's; empty where they can."""
    predicted: Columns
    """For the candidate's test rows, in their order; no columns where they cannot be compared."""
    trained_on: tuple[str, ...]
    """Ids of the candidate's test rows that it was trained on."""


def score_baseline(version: int, model_folder: Path, evaluation: Evaluation) -> Baseline:
    """Score a saved model on the test rows of a candidate's evaluation.

    Raises:
        Corrupt: the model, or the candidate's predictions, are damaged.
        Refused: its predictions are not finite numbers.
    """
    from modelworks.evaluation import inference

    report = evaluation.trained.report
    rows = inference.held_out(report)
    model = inference.load(model_folder)
    if model.modality == report.dataset.modality:
        reason = inference.read(evaluation.folder).objective.comparable(model.objective)
    else:
        reason = f"the candidate reads {report.dataset.modality}s, version {version} {model.modality}s"
    return Baseline(
        version=version,
        incomparable=reason,
        predicted={} if reason else inference.predict(model, rows),
        trained_on=trained_on(model_folder, rows.ids),
    )


def trained_on(model_folder: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Those of some rows, by id, that a saved model was trained on.

    A model keeps the first 64 bits of each training row's id: among a million training rows and ten thousand others
    the chance of one false alarm is below one in a billion.

    Raises:
        Corrupt: the model does not say what it was trained on.
    """
    import numpy as np

    path = model_folder / "training_ids.npy"
    try:
        known = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Corrupt(
            f"{path} cannot be read: {error}",
            "without it nobody can tell whether test rows were in the training set: run the config again",
        ) from error
    asked = np.frombuffer(b"".join(bytes.fromhex(each[:16]) for each in ids), dtype=">u8").astype(np.uint64)
    return tuple(each for each, seen in zip(ids, np.isin(asked, known), strict=True) if seen)

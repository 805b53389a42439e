"""Predictions of the production model for the candidate's test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelworks.objectives.row_statistics import Columns
    from modelworks.records import Evaluation

__all__ = ["Baseline", "score_baseline", "trained_on"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """The version to compare the candidate with."""

    version: int
    incomparable: str
    """Why its predictions are not comparable with the candidate's; empty if they are."""
    predicted: Columns
    """Predictions for the candidate's test rows, in order; empty if not comparable."""
    trained_on: tuple[str, ...]
    """Ids of the candidate's test rows that are in its training set."""


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
    """Return the ids of those rows that a saved model was trained on.

    A model stores the first 64 bits of each training row's id: with a million training rows and ten thousand others,
    the probability of a false match is below one in a billion.

    Raises:
        Corrupt: the model's list of training rows is damaged.
    """
    import numpy as np

    path = model_folder / "training_ids.npy"
    try:
        known = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Corrupt(
            f"{path} cannot be read: {error}",
            "run the config again: the gate needs this list of training rows",
            code="model.damaged",
        ) from error
    prefixes = np.frombuffer(b"".join(bytes.fromhex(each[:16]) for each in ids), dtype=">u8").astype(np.uint64)
    return tuple(each for each, seen in zip(ids, np.isin(prefixes, known), strict=True) if seen)

"""What changes for users when the candidate takes production's place: which rows are answered differently, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelworks.evaluation.metrics.calibration import reliability
from modelworks.evaluation.statistics import mcnemar
from modelworks.records import Changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelworks.evaluation.gate.production_baseline import Baseline
    from modelworks.evaluation.inference import Predictions

__all__ = ["Broken", "broken", "changes"]


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A test row that production answers right and the candidate wrong."""

    place: int
    """Among the test rows."""
    id: str
    label: str
    candidate: str
    """What the candidate takes it for."""
    sure: float
    """How sure the candidate is of that."""


def changes(predictions: Predictions, opponent: Baseline) -> Changes:
    """In figures, over all test rows."""
    ours, theirs = predictions.predicted == predictions.labels, opponent.predicted == predictions.labels
    fixed, lost = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    return Changes(
        rows=len(ours),
        fixed=fixed,
        broken=lost,
        otherwise=int((~ours & ~theirs & (predictions.predicted != opponent.predicted)).sum()),
        p_value=mcnemar.p_value(fixed, lost),
        calibration_error=reliability(predictions.probabilities, predictions.labels).error,
        opponent_calibration_error=reliability(opponent.probabilities, predictions.labels).error,
    )


def broken(predictions: Predictions, opponent: Baseline, classes: Sequence[str], most: int) -> list[Broken]:
    """Rows that only production answers right, those first of which the candidate is surest."""
    sure = predictions.probabilities.max(axis=1)
    lost = np.flatnonzero((predictions.predicted != predictions.labels) & (opponent.predicted == predictions.labels))
    return [
        Broken(
            place=int(place),
            id=predictions.ids[place],
            label=classes[predictions.labels[place]],
            candidate=classes[predictions.predicted[place]],
            sure=round(float(sure[place]), 4),
        )
        for place in lost[np.argsort(-sure[lost], kind="stable")][:most]
    ]

"""Changes for users when the candidate replaces production: rows with other predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.evaluation.statistics import mcnemar
from modelworks.objectives.figures import Reliability
from modelworks.records import Changes

if TYPE_CHECKING:
    from modelworks.evaluation.gate.production_baseline import Baseline
    from modelworks.evaluation.inference import Predictions
    from modelworks.objectives.row_statistics import Columns

__all__ = ["Worsened", "changes", "gains", "reliability", "worsened"]


@dataclass(frozen=True, kw_only=True)
class Worsened:
    """A test row with a lower score than in production."""

    place: int
    """Index among the test rows."""
    id: str
    truth: str
    answer: str
    """The candidate's answer."""
    remark: str
    """The objective's remark on the answer, e.g. its probability."""


def gains(predictions: Predictions, baseline: Baseline) -> npt.NDArray[np.float64]:
    """Return the gain of the candidate over production for each row (rows,); negative is worse."""
    objective = predictions.objective
    ours, theirs = (
        objective.row_scores(each, predictions.truth) for each in (predictions.predicted, baseline.predicted)
    )
    return np.asarray(ours - theirs if objective.row_better == "max" else theirs - ours)


def changes(predictions: Predictions, baseline: Baseline) -> Changes:
    """Count the changes over all test rows."""
    gained = gains(predictions, baseline)
    differing = ~predictions.objective.same_answers(predictions.predicted, baseline.predicted)
    fixed, broken = int((gained > 0).sum()), int((gained < 0).sum())
    ours, theirs = (reliability(predictions, each) for each in (predictions.predicted, baseline.predicted))
    return Changes(
        rows=len(gained),
        fixed=fixed,
        broken=broken,
        otherwise=int((differing & (gained == 0)).sum()),
        p_value=mcnemar.p_value(fixed, broken),
        calibration_error=ours.error if ours else None,
        baseline_calibration_error=theirs.error if theirs else None,
    )


def worsened(predictions: Predictions, baseline: Baseline, most: int) -> list[Worsened]:
    """Return rows with a lower score than in production, those with the largest error first."""
    objective = predictions.objective
    lost = np.flatnonzero(gains(predictions, baseline) < 0)
    wrongness = objective.wrongness(predictions.predicted, predictions.truth)[lost]
    places = [int(place) for place in lost[np.argsort(-wrongness, kind="stable")][:most]]
    words = objective.describe(predictions.predicted, predictions.truth, places)
    return [
        Worsened(place=place, id=predictions.ids[place], truth=truth, answer=answer, remark=remark)
        for place, (truth, answer, remark) in zip(places, words, strict=True)
    ]


def reliability(predictions: Predictions, predicted: Columns) -> Reliability | None:
    """Return the calibration of predictions for the test rows; None without probabilities."""
    figures = predictions.objective.report(predicted, predictions.truth, 0.95)
    return next((figure for figure in figures if isinstance(figure, Reliability)), None)

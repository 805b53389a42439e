"""What changes for users when the candidate takes production's place: which rows are answered differently, and where."""

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
    from modelworks.objectives.base import Columns

__all__ = ["Worsened", "changes", "gains", "reliability", "worsened"]


@dataclass(frozen=True, kw_only=True)
class Worsened:
    """A test row that the candidate answers worse than production."""

    place: int
    """Among the test rows."""
    id: str
    truth: str
    answer: str
    """The candidate's."""
    remark: str
    """What the objective says of that answer, e.g. how sure the candidate is."""


def gains(predictions: Predictions, opponent: Baseline) -> npt.NDArray[np.float64]:
    """(rows,): how much better the candidate's answer is than production's; negative is worse."""
    objective = predictions.objective
    ours, theirs = (
        objective.row_scores(each, predictions.truth) for each in (predictions.predicted, opponent.predicted)
    )
    return np.asarray(ours - theirs if objective.row_better == "max" else theirs - ours)


def changes(predictions: Predictions, opponent: Baseline) -> Changes:
    """In figures, over all test rows."""
    gained = gains(predictions, opponent)
    differing = ~predictions.objective.same_answers(predictions.predicted, opponent.predicted)
    fixed, broken = int((gained > 0).sum()), int((gained < 0).sum())
    ours, theirs = (reliability(predictions, each) for each in (predictions.predicted, opponent.predicted))
    return Changes(
        rows=len(gained),
        fixed=fixed,
        broken=broken,
        otherwise=int((differing & (gained == 0)).sum()),
        p_value=mcnemar.p_value(fixed, broken),
        calibration_error=ours.error if ours else None,
        opponent_calibration_error=theirs.error if theirs else None,
    )


def worsened(predictions: Predictions, opponent: Baseline, most: int) -> list[Worsened]:
    """Rows that the candidate answers worse than production, those first where it is most wrong."""
    objective = predictions.objective
    lost = np.flatnonzero(gains(predictions, opponent) < 0)
    wrongness = objective.wrongness(predictions.predicted, predictions.truth)[lost]
    places = [int(place) for place in lost[np.argsort(-wrongness, kind="stable")][:most]]
    words = objective.in_words(predictions.predicted, predictions.truth, places)
    return [
        Worsened(place=place, id=predictions.ids[place], truth=truth, answer=answer, remark=remark)
        for place, (truth, answer, remark) in zip(places, words, strict=True)
    ]


def reliability(predictions: Predictions, predicted: Columns) -> Reliability | None:
    """How far the probabilities of some answers to the same rows can be believed; None where there are none."""
    figures = predictions.objective.report(predicted, predictions.truth, 0.95)
    return next((figure for figure in figures if isinstance(figure, Reliability)), None)

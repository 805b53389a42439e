"""Whether the test rows can judge at all: no model was trained on them, and both models learn the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.evaluation.gate.findings import Finding
from modelworks.evaluation.gate.production_baseline import Baseline, trained_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelworks.evaluation.inference import Predictions
    from modelworks.records import ModelVersion

__all__ = ["fairness"]


def fairness(version: ModelVersion, predictions: Predictions, opponent: Baseline | None) -> Iterator[Finding]:
    """A finding for each way in which the comparison could be unfair.

    Raises:
        Corrupt: the model does not say what it was trained on.
    """
    own = trained_on(version.evaluation.trained.model_folder, predictions.ids)
    yield _overlap("the candidate", own, len(predictions.ids))
    if opponent is None:
        return
    theirs = f"version {opponent.version}"
    yield _overlap(theirs, opponent.trained_on, len(predictions.ids))
    yield Finding(
        name="what the model learns",
        observed=opponent.incomparable or "the same",
        required=f"the same as {theirs}",
        decision="reject" if opponent.incomparable else "promote",
        hint=(
            f"the two cannot be compared; to replace {theirs} all the same: "
            f"modelworks promote {version.name} {version.version} --override --reason TEXT"
        ),
    )


def _overlap(who: str, ids: Sequence[str], rows: int) -> Finding:
    examples = f" ({', '.join(each[:12] for each in ids[:3])}{', ...' if len(ids) > 3 else ''})" if ids else ""
    return Finding(
        name=f"the number of test rows that {who} was trained on",
        observed=f"{len(ids):,} of {rows:,}{examples}",
        required="0",
        decision="reject" if ids else "promote",
    )

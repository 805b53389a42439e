"""Check that the comparison is fair: unseen test rows, and the same task for both models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.evaluation.gate.findings import Finding
from modelworks.evaluation.gate.production_baseline import Baseline, trained_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelworks.evaluation.inference import Predictions
    from modelworks.records import ModelVersion

__all__ = ["fairness"]


def fairness(version: ModelVersion, predictions: Predictions, baseline: Baseline | None) -> Iterator[Finding]:
    """Yield a finding for each condition of a fair comparison.

    Raises:
        Corrupt: the model's list of training rows is damaged.
    """
    own = trained_on(version.evaluation.trained.model_folder, predictions.ids)
    yield _overlap("the candidate", own, len(predictions.ids))
    if baseline is None:
        return
    theirs = f"version {baseline.version}"
    yield _overlap(theirs, baseline.trained_on, len(predictions.ids))
    yield Finding(
        name="the model's task",
        observed=baseline.incomparable or "the same",
        required=f"the same as {theirs}",
        decision="reject" if baseline.incomparable else "promote",
        hint=(
            f"the two cannot be compared; to replace {theirs} anyway: "
            f"modelworks promote {version.name} {version.version} --override --reason TEXT"
        ),
    )


def _overlap(model: str, ids: Sequence[str], rows: int) -> Finding:
    examples = f" ({', '.join(each[:12] for each in ids[:3])}{', ...' if len(ids) > 3 else ''})" if ids else ""
    return Finding(
        name=f"the number of test rows that {model} was trained on",
        observed=f"{len(ids):,} of {rows:,}{examples}",
        required="0",
        decision="reject" if ids else "promote",
    )

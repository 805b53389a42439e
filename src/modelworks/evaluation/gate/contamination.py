"""Whether the test rows can judge at all: nobody learned from them, and both models tell the same classes apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.evaluation.gate.findings import Finding
from modelworks.evaluation.gate.production_baseline import Baseline, trained_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelworks.evaluation.inference import Predictions
    from modelworks.records import Evaluation

__all__ = ["fairness"]


def fairness(evaluation: Evaluation, predictions: Predictions, opponent: Baseline | None) -> Iterator[Finding]:
    """A finding for each way in which the comparison could be unfair.

    Raises:
        Corrupt: the model does not say what it was trained on.
    """
    own = trained_on(evaluation.trained.model_folder, predictions.ids)
    yield _overlap("the candidate", own, len(predictions.ids))
    if opponent is None:
        return
    theirs = f"version {opponent.version}"
    yield _overlap(theirs, opponent.trained_on, len(predictions.ids))
    dataset = evaluation.trained.report.dataset
    same = (opponent.modality, opponent.classes) == (dataset.modality, dataset.classes)
    yield Finding(
        name="what is told apart",
        found=_task(dataset.modality, dataset.classes, opponent.classes),
        demanded=f"as for {theirs}, {_task(opponent.modality, opponent.classes, dataset.classes)}",
        decision="promote" if same else "reject",
    )


def _overlap(who: str, ids: Sequence[str], rows: int) -> Finding:
    examples = f" ({', '.join(each[:12] for each in ids[:3])}{', ...' if len(ids) > 3 else ''})" if ids else ""
    return Finding(
        name=f"the number of test rows that {who} was trained on",
        found=f"{len(ids):,} of {rows:,}{examples}",
        demanded="0",
        decision="reject" if ids else "promote",
    )


def _task(modality: str, classes: Sequence[str], others: Sequence[str]) -> str:
    """The classes in number, those that the other side lacks by name."""
    own = [label for label in classes if label not in others]
    named = f" (with {', '.join(own[:6])}{', ...' if len(own) > 6 else ''})" if own else ""
    return f"{len(classes)} classes of {modality}s{named}"

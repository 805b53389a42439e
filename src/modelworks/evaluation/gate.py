"""The gate: may this version become production?

Each question becomes a `Check` that a person can read. Minimums are compared with the metric itself; against
production it is the interval that decides, so that a lucky draw of test rows does not move production:

    whole interval of the difference at or above -tolerance     promote
    whole interval below -tolerance                             keep: the candidate is worse
    anything between                                            not enough evidence

A missed minimum, a test row that either model was trained on, or other classes than production's mean keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.evaluation.opponent import Opponent, trained_on
from modelworks.records import Check, Decision, Evaluation, Interval, ModelVersion, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelworks.evaluation.config import EvaluateConfig, GateConfig
    from modelworks.evaluation.predict import Predictions

__all__ = ["decide"]

ROUNDING = 1e-12
"""0.95 - 0.96 is not quite -0.01: ends that touch the limit count as reaching it."""


def decide(
    version: ModelVersion, gate: GateConfig, evaluate: EvaluateConfig, opponent: Opponent | None, key: str
) -> Verdict:
    """Judge a version on its evaluation alone, or also against the version in production.

    Args:
        version: the candidate.
        gate: its minimums, and the metric and tolerance of the comparison.
        evaluate: confidence and resamples of the comparison.
        opponent: production's version; None when there is none yet. The candidate itself is no opponent.
        key: of the gate stage.

    Raises:
        Corrupt: the evaluation's predictions or the model's list of training rows are damaged.
    """
    from modelworks.evaluation import predict

    evaluation = version.evaluation
    predictions = predict.read(evaluation.folder)
    if opponent is not None and opponent.version == version.version:
        opponent = None
    fairness = tuple(_fairness(evaluation, predictions, opponent))
    checks = [*_minimums(evaluation, gate), *fairness]
    decision: Decision = "promote" if all(check.passed for check in checks) else "keep"
    if opponent is not None and all(check.passed for check in fairness):
        compared = _difference(evaluation, predictions, opponent, gate, evaluate)
        limit = -gate.tolerance - ROUNDING
        checks.append(_comparison(compared, opponent, gate, passed=compared.low >= limit))
        if decision == "promote" and compared.low < limit:
            decision = "keep" if compared.high < limit else "not enough evidence"
    return Verdict(
        version=version, key=key, decision=decision, checks=tuple(checks), opponent=opponent.version if opponent else 0
    )


def _minimums(evaluation: Evaluation, gate: GateConfig) -> Iterator[Check]:
    for metric, minimum in gate.minimums.items():
        found = evaluation.metrics[metric]
        yield Check(name=metric, passed=found.value >= minimum, found=str(found), demanded=f"at least {minimum:g}")


def _fairness(evaluation: Evaluation, predictions: Predictions, opponent: Opponent | None) -> Iterator[Check]:
    own = trained_on(evaluation.trained.model_folder, predictions.ids)
    yield _overlap("the candidate", own, len(predictions.ids))
    if opponent is None:
        return
    theirs = f"version {opponent.version}"
    yield _overlap(theirs, opponent.trained_on, len(predictions.ids))
    dataset = evaluation.trained.report.dataset
    yield Check(
        name="what is told apart",
        passed=(opponent.modality, opponent.classes) == (dataset.modality, dataset.classes),
        found=_task(dataset.modality, dataset.classes, opponent.classes),
        demanded=f"as for {theirs}, {_task(opponent.modality, opponent.classes, dataset.classes)}",
    )


def _overlap(who: str, ids: Sequence[str], rows: int) -> Check:
    examples = f" ({', '.join(each[:12] for each in ids[:3])}{', ...' if len(ids) > 3 else ''})" if ids else ""
    return Check(
        name=f"the number of test rows that {who} was trained on",
        passed=not ids,
        found=f"{len(ids):,} of {rows:,}{examples}",
        demanded="0",
    )


def _difference(
    evaluation: Evaluation, predictions: Predictions, opponent: Opponent, gate: GateConfig, evaluate: EvaluateConfig
) -> Interval:
    from modelworks.evaluation.compare import difference

    classes = len(evaluation.trained.report.dataset.classes)
    return difference(gate.compare, predictions.labels, predictions.predicted, opponent.predictions, classes, evaluate)


def _comparison(compared: Interval, opponent: Opponent, gate: GateConfig, *, passed: bool) -> Check:
    return Check(
        name=f"{gate.compare} minus version {opponent.version}'s",
        passed=passed,
        found=f"{compared.value:+.4f} [{compared.low:+.4f}, {compared.high:+.4f}]",
        demanded=f"nowhere in the interval below {-gate.tolerance:+g}"
        if gate.tolerance
        else "nowhere in the interval below 0",
    )


def _task(modality: str, classes: Sequence[str], others: Sequence[str]) -> str:
    """The classes in number, those that the other side lacks by name."""
    own = [label for label in classes if label not in others]
    named = f" (with {', '.join(own[:6])}{', ...' if len(own) > 6 else ''})" if own else ""
    return f"{len(classes)} classes of {modality}s{named}"

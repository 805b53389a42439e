"""The gate: may this version become production?

Each question becomes a `Check` that a person can read. Minimums, slices and budgets are compared with the figures
themselves. Against production it is the interval of the difference that decides, so that a lucky draw of test rows
does not move production:

    whole interval above -max_regression     promote
    whole interval below -max_regression     reject: the candidate is worse
    anything between                         inconclusive

So a candidate that is in truth worse than production by max_regression passes with a chance of at most
alpha = (1 - confidence) / 2, which is 2.5 % by default; one that is worse still passes more rarely. With
max_regression 0 that candidate is an equal one: it must be shown to be better, and a model with the very same answers,
whose interval is not above 0, is not promoted. Whoever wants equal models promoted allows for a regression. The chance
is that of one candidate: whoever tries many on the same test rows tries his luck as often.

McNemar's exact test stands beside the comparison and decides nothing. It knows which rows are answered better and asks
whether the models differ at all, not by how much: with many rows it would find a difference that nobody minds, and with
max_regression above 0 it asks the wrong question. Where both ask the same, they agree but for the last rows.

A missed limit, no gain over the trivial answer, a test row that either model was trained on, or another task than
production's mean reject.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from modelworks.evaluation.gate.contamination import fairness
from modelworks.evaluation.gate.findings import Finding, overall
from modelworks.evaluation.statistics.sample_size import in_words
from modelworks.records import Changes, Decision, Evaluation, Interval, ModelVersion, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelworks.evaluation.config import GateConfig
    from modelworks.evaluation.gate.production_baseline import Baseline
    from modelworks.evaluation.gate.slices import Slice
    from modelworks.evaluation.inference import Predictions
    from modelworks.evaluation.statistics.paired_comparison import Comparison

__all__ = ["GateResult", "decide", "outcome"]

ROUNDING = 1e-12
"""0.95 - 0.96 is not quite -0.01: an end within this of the limit touches it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GateResult:
    """A verdict, and what it was found from."""

    verdict: Verdict
    predictions: Predictions
    opponent: Baseline | None
    """None without one, or without one that answers the same rows."""
    slices: tuple[Slice, ...]

    def details(self) -> dict[str, Any]:
        """As JSON values: everything but the rows themselves."""
        verdict = self.verdict
        return {
            "model": verdict.version.name,
            "version": verdict.version.version,
            "gate_key": verdict.key,
            "decision": verdict.decision,
            "opponent": verdict.opponent,
            "checks": [asdict(check) for check in verdict.checks],
            "remarks": list(verdict.remarks),
            "changes": verdict.changes and {**asdict(verdict.changes), "churn": verdict.changes.churn},
            "slices": [asdict(each) for each in self.slices],
        }


def decide(version: ModelVersion, gate: GateConfig, opponent: Baseline | None, key: str) -> GateResult:
    """Judge a version on its evaluation alone, or also against the version in production.

    Args:
        version: the candidate.
        gate: what it must reach.
        opponent: production's version; None when there is none yet. The candidate itself is no opponent.
        key: of the gate stage.

    Raises:
        BadInput: the gate cuts slices by a column that the data set has not.
        Corrupt: the evaluation's predictions or the model's list of training rows are damaged.
    """
    from modelworks.evaluation import inference
    from modelworks.evaluation.gate import resource_budgets, slice_checks, slices, trivial_baseline
    from modelworks.evaluation.gate.prediction_churn import changes
    from modelworks.evaluation.near_duplicates import search

    evaluation = version.evaluation
    predictions = inference.read(evaluation.folder)
    trivial = inference.read(evaluation.folder, inference.BASELINE)
    metric = gate.compare or next(iter(predictions.objective.metrics))
    if opponent is not None and opponent.version == version.version:
        opponent = None
    fair = list(fairness(version, predictions, opponent))
    findings = [*_limits(evaluation, gate), trivial_baseline.beats(predictions, trivial, metric, gate), *fair]
    remarks = [search.remark(search.read(evaluation.folder), metric)]
    answering = opponent if overall(fair) == "promote" else None
    changed = None
    if answering is not None:
        compared = _compared(predictions, answering, metric, gate)
        findings.append(_comparison(compared, answering, metric, gate))
        changed = changes(predictions, answering)
        remarks.append(_flips(changed, answering))
    parts = slices.parts(evaluation.trained.report.dataset, predictions, answering, gate)
    if gate.slices is not None:
        chosen = [each for each in parts if each.by in gate.slices.by]
        measure = predictions.objective.row_metric
        findings += slice_checks.findings(chosen, gate.slices, measure, answering.version if answering else 0)
        remarks += slice_checks.too_small(chosen, gate.slices)
    if gate.budgets is not None:
        findings += resource_budgets.judge(evaluation.trained, gate.budgets)
    verdict = Verdict(
        version=version,
        key=key,
        decision=overall(findings),
        checks=tuple(finding.check for finding in findings),
        opponent=opponent.version if opponent else 0,
        remarks=tuple(filter(None, remarks)),
        changes=changed,
    )
    return GateResult(verdict=verdict, predictions=predictions, opponent=answering, slices=parts)


def outcome(difference: Interval, max_regression: float) -> Decision:
    """What the interval of a gain over production decides."""
    limit = -max_regression
    if difference.low > limit + ROUNDING:
        return "promote"
    return "reject" if difference.high < limit - ROUNDING else "inconclusive"


def _limits(evaluation: Evaluation, gate: GateConfig) -> Iterator[Finding]:
    for limits, sign, bound in ((gate.minimums, 1, "at least"), (gate.maximums, -1, "at most")):
        for name, limit in limits.items():
            found = evaluation.metrics[name]
            yield Finding(
                name=name,
                observed=str(found),
                required=f"{bound} {limit:g}",
                decision="promote" if sign * found.value >= sign * limit else "reject",
            )


def _compared(predictions: Predictions, opponent: Baseline, metric: str, gate: GateConfig) -> Comparison:
    from modelworks.evaluation.statistics.paired_comparison import compare

    return compare(
        predictions.objective,
        metric,
        predictions.predicted,
        opponent.predicted,
        predictions.truth,
        confidence=gate.confidence,
        resamples=gate.resamples,
    )


def _comparison(compared: Comparison, opponent: Baseline, metric: str, gate: GateConfig) -> Finding:
    found = compared.difference
    decision = outcome(found, gate.max_regression)
    would_tell = f"; {in_words(compared, -gate.max_regression)}" if decision == "inconclusive" else ""
    return Finding(
        name=f"the gain in {metric} over version {opponent.version}",
        observed=f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]{would_tell}",
        required=f"all of the interval above {-gate.max_regression if gate.max_regression else 0:g}",
        decision=decision,
    )


def _flips(changed: Changes, opponent: Baseline) -> str:
    return (
        f"of {changed.rows:,} test rows {changed.fixed:,} improved and {changed.broken:,} worsened against "
        f"version {opponent.version}: McNemar's exact p is {changed.p_value:.3g}"
    )

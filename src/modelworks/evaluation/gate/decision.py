"""The gate: decide whether a version may become production.

Each requirement becomes a `Check`. Minimums, slices and budgets are compared with point estimates. The comparison with
production uses the confidence interval of the difference, so that sampling noise in the test rows does not change
production:

    interval above -max_regression           promote
    interval below -max_regression           reject: the candidate is worse
    interval contains -max_regression        inconclusive

A candidate that is truly worse than production by max_regression passes with a probability of at most
alpha = (1 - confidence) / 2, 2.5 % by default; a worse one passes less often. With max_regression 0 a candidate must be
significantly better: one with the same predictions, whose interval is not above 0, is not promoted. To promote equal
models, set max_regression above 0. The probability is that of one candidate and not corrected for repeated tries on the
same test rows.

McNemar's exact test is reported but does not decide. It tests whether the models differ at all, not by how much: with
many rows it finds negligible differences, and with max_regression above 0 it tests another hypothesis. For the same
hypothesis the two differ only in borderline cases.

A missed limit, no gain over the trivial baseline, a test row in either model's training set, or a task other than
production's leads to reject.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from modelworks.evaluation.gate.contamination import fairness
from modelworks.evaluation.gate.findings import Finding, overall
from modelworks.evaluation.statistics.sample_size import rows_needed_text
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
"""Floating-point tolerance for an interval end equal to the limit, as in 0.95 - 0.96 and -0.01."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GateResult:
    """A verdict and the data it is based on."""

    verdict: Verdict
    predictions: Predictions
    baseline: Baseline | None
    """Production's version; None if there is none or it cannot be compared."""
    slices: tuple[Slice, ...]

    def details(self) -> dict[str, Any]:
        """Return everything except the rows as JSON values."""
        verdict = self.verdict
        return {
            "model": verdict.version.name,
            "version": verdict.version.version,
            "gate_key": verdict.key,
            "decision": verdict.decision,
            "baseline": verdict.baseline,
            "checks": [asdict(check) for check in verdict.checks],
            "remarks": list(verdict.remarks),
            "changes": verdict.changes and {**asdict(verdict.changes), "churn": verdict.changes.churn},
            "slices": [asdict(each) for each in self.slices],
        }


def decide(version: ModelVersion, gate: GateConfig, baseline: Baseline | None, key: str) -> GateResult:
    """Judge a version by its evaluation and by a comparison with production.

    Args:
        version: the candidate.
        gate: the requirements.
        baseline: production's version; None if there is none. The candidate itself is ignored.
        key: of the gate stage.

    Raises:
        BadInput: the data set has no column with the name of a slice.
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
    if baseline is not None and baseline.version == version.version:
        baseline = None
    fair = list(fairness(version, predictions, baseline))
    findings = [*_limits(evaluation, gate), trivial_baseline.beats(predictions, trivial, metric, gate), *fair]
    remarks = [search.remark(search.read(evaluation.folder), metric)]
    comparable = baseline if overall(fair) == "promote" else None
    changed = None
    if comparable is not None:
        compared = _compared(predictions, comparable, metric, gate)
        findings.append(_comparison(compared, comparable, metric, gate))
        changed = changes(predictions, comparable)
        remarks.append(_flips(changed, comparable))
    parts = slices.parts(evaluation.trained.report.dataset, predictions, comparable, gate)
    if gate.slices is not None:
        chosen = [each for each in parts if each.by in gate.slices.by]
        measure = predictions.objective.row_metric
        findings += slice_checks.findings(chosen, gate.slices, measure, comparable.version if comparable else 0)
        remarks += slice_checks.too_small(chosen, gate.slices)
    if gate.budgets is not None:
        findings += resource_budgets.judge(evaluation.trained, gate.budgets)
    verdict = Verdict(
        version=version,
        key=key,
        decision=overall(findings),
        checks=tuple(finding.check for finding in findings),
        baseline=baseline.version if baseline else 0,
        remarks=tuple(filter(None, remarks)),
        changes=changed,
    )
    return GateResult(verdict=verdict, predictions=predictions, baseline=comparable, slices=parts)


def outcome(difference: Interval, max_regression: float) -> Decision:
    """Return the decision for the interval of a gain over production."""
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


def _compared(predictions: Predictions, baseline: Baseline, metric: str, gate: GateConfig) -> Comparison:
    from modelworks.evaluation.statistics.paired_comparison import compare

    return compare(
        predictions.objective,
        metric,
        predictions.predicted,
        baseline.predicted,
        predictions.truth,
        confidence=gate.confidence,
        resamples=gate.resamples,
    )


def _comparison(compared: Comparison, baseline: Baseline, metric: str, gate: GateConfig) -> Finding:
    found = compared.difference
    decision = outcome(found, gate.max_regression)
    needed = f"; {rows_needed_text(compared, -gate.max_regression)}" if decision == "inconclusive" else ""
    return Finding(
        name=f"the gain in {metric} over version {baseline.version}",
        observed=f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]{needed}",
        required=f"interval above {-gate.max_regression if gate.max_regression else 0:g}",
        decision=decision,
    )


def _flips(changed: Changes, baseline: Baseline) -> str:
    return (
        f"of {changed.rows:,} test rows {changed.fixed:,} improved and {changed.broken:,} worsened against "
        f"version {baseline.version}: McNemar's exact p is {changed.p_value:.3g}"
    )

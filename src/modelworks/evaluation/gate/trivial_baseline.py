"""Check that a model is better than the trivial baseline, such as the most frequent class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.evaluation.gate.findings import Finding

if TYPE_CHECKING:
    from modelworks.evaluation.config import GateConfig
    from modelworks.evaluation.inference import Predictions

__all__ = ["beats"]


def beats(predictions: Predictions, trivial: Predictions, metric: str, gate: GateConfig) -> Finding:
    """Return whether the interval of the gain over the trivial baseline is above 0.

    Args:
        predictions: the candidate's.
        trivial: the trivial baseline's.
        metric: of the comparison.
        gate: confidence and resamples.
    """
    from modelworks.evaluation.statistics.paired_comparison import compare

    found = compare(
        predictions.objective,
        metric,
        predictions.predicted,
        trivial.predicted,
        predictions.truth,
        confidence=gate.confidence,
        resamples=gate.resamples,
    ).difference
    return Finding(
        name=f"the gain in {metric} over the trivial baseline",
        observed=f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
        required="interval above 0",
        decision="promote" if found.low > 0 else "reject",
        hint="the model does not use its input: train it longer, or use other data",
    )

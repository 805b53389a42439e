"""Simulate the gate's error rates: thousands of samples of test rows for two models of known accuracy.

`python tests/programs/gate_simulation.py` prints the table; the tests run a part of it. The gate's functions decide on each
sample, with 10,000 resamples each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from samples.answers import answers, classifier

from modelworks.evaluation.gate.decision import outcome
from modelworks.evaluation.statistics.paired_comparison import Comparison, compare
from modelworks.evaluation.statistics.sample_size import rows_needed
from modelworks.records import Interval

if TYPE_CHECKING:
    from modelworks.records import Decision

CONFIDENCE = 0.95
ALPHA = (1 - CONFIDENCE) / 2
RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The true accuracy of two models with independent errors, and a gate."""

    candidate: float
    """True accuracy."""
    production: float
    rows: int
    max_regression: float = 0.0

    @property
    def outcomes(self) -> tuple[float, float, float]:
        """Probabilities of a row that only the candidate predicts correctly, that only production does, and of others."""
        fixed = self.candidate * (1 - self.production)
        broken = self.production * (1 - self.candidate)
        return fixed, broken, 1 - fixed - broken

    def with_enough_rows(self, power: float) -> Truth:
        """Return the same with the number of test rows that the gate reports as needed."""
        fixed, broken, _ = self.outcomes
        difference = self.candidate - self.production
        found = Comparison(
            difference=Interval(value=difference, low=0.0, high=0.0, confidence=CONFIDENCE),
            deviation=float(np.sqrt(fixed + broken - difference**2)),
            rows=self.rows,
        )
        needed = rows_needed(found, -self.max_regression, power)
        assert needed is not None
        return replace(self, rows=needed)


def shares(truth: Truth, draws: int, seed: int = 0) -> dict[Decision, float]:
    """Return the share of each decision. The decision for equal counts is computed once."""
    drawn = np.random.default_rng(seed).multinomial(truth.rows, truth.outcomes, size=draws)
    counted: Counter[Decision] = Counter()
    for (fixed, broken, _), times in zip(*np.unique(drawn, axis=0, return_counts=True), strict=True):
        counted[outcome(accuracy(int(fixed), int(broken), truth.rows), truth.max_regression)] += int(times)
    return {decision: counted[decision] / draws for decision in ("promote", "inconclusive", "reject")}


def accuracy(fixed: int, broken: int, rows: int) -> Interval:
    """Return the gate's interval for these counts."""
    labels = np.zeros(rows, dtype=np.int16)
    candidate, production = labels.copy(), labels.copy()
    production[:fixed] = 1
    candidate[fixed : fixed + broken] = 1
    return _compared("accuracy", labels, candidate, production, 2, RESAMPLES)


def _compared(
    metric: str, labels: np.ndarray, candidate: np.ndarray, production: np.ndarray, classes: int, resamples: int
) -> Interval:
    sides = (answers(each, classes) for each in (candidate, production))
    truth = {"label": labels}
    return compare(classifier(classes), metric, *sides, truth, confidence=CONFIDENCE, resamples=resamples).difference


def shares_over_classes(
    metric: str, accuracies: tuple[float, float], sizes: tuple[float, ...], rows: int, draws: int, resamples: int
) -> dict[Decision, float]:
    """Return the share of each decision for classes of unequal size, with errors uniform over the other classes."""
    generator = np.random.default_rng(0)
    classes = len(sizes)
    counted: Counter[Decision] = Counter()
    for _ in range(draws):
        labels = generator.choice(classes, size=rows, p=sizes)
        candidate, production = (
            np.where(
                generator.random(rows) < right, labels, (labels + generator.integers(1, classes, size=rows)) % classes
            )
            for right in accuracies
        )
        found = _compared(metric, labels, candidate, production, classes, resamples)
        counted[outcome(found, 0.0)] += 1
    return {decision: counted[decision] / draws for decision in ("promote", "inconclusive", "reject")}


EQUAL = (
    Truth(candidate=0.9, production=0.9, rows=1000),
    Truth(candidate=0.99, production=0.99, rows=500),
    Truth(candidate=0.7, production=0.7, rows=200),
    Truth(candidate=0.999, production=0.999, rows=2000),
)
WORSE = (
    Truth(candidate=0.89, production=0.9, rows=1000, max_regression=0.01),
    Truth(candidate=0.99, production=1.0, rows=300, max_regression=0.01),
)
BETTER = (
    Truth(candidate=0.93, production=0.9, rows=0),
    Truth(candidate=0.985, production=0.98, rows=0),
    Truth(candidate=0.9, production=0.9, rows=0, max_regression=0.02),
)


def main() -> None:
    line = "{:<46} {:>6} {:>9} {:>12} {:>7}   {}".format
    print(line("truth", "rows", "promote", "inconclusive", "reject", "expected"))

    def show(label: str, rows: int, found: dict[Decision, float], expected: str) -> None:
        print(line(label, f"{rows:,}", *(f"{share:.1%}" for share in found.values()), expected))

    for truth in (*EQUAL, *WORSE):
        label = f"accuracy {truth.candidate} against {truth.production}, regression {truth.max_regression:g}"
        show(label, truth.rows, shares(truth, 10_000), f"promote at most {ALPHA:.1%}")
    for power in (0.5, 0.8, 0.95):
        for each in BETTER:
            truth = each.with_enough_rows(power)
            label = f"accuracy {truth.candidate} against {truth.production}, regression {truth.max_regression:g}"
            show(label, truth.rows, shares(truth, 10_000), f"promote {power:.0%}")
    sizes = (0.6, 0.3, 0.1)
    for accuracies, expected in (((0.85, 0.85), f"promote at most {ALPHA:.1%}"), ((0.9, 0.85), "")):
        found = shares_over_classes("macro_f1", accuracies, sizes, 500, 2000, 2000)
        show(f"macro F1, accuracy {accuracies[0]} against {accuracies[1]}", 500, found, expected)


if __name__ == "__main__":
    main()

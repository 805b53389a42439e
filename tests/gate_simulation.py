"""How often the gate errs: thousands of draws of test rows for two models whose truth is known.

`python tests/gate_simulation.py` prints the table; the tests run a part of it. The gate's own functions judge every
draw, with 10,000 resamples each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from answers import answers, classifier

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
    """Two models and a gate; the models err independently of each other."""

    candidate: float
    """True accuracy."""
    production: float
    rows: int
    max_regression: float = 0.0

    @property
    def outcomes(self) -> tuple[float, float, float]:
        """Chances of a row that only the candidate answers right, that only production does, and of any other."""
        fixed = self.candidate * (1 - self.production)
        broken = self.production * (1 - self.candidate)
        return fixed, broken, 1 - fixed - broken

    def with_enough_rows(self, power: float) -> Truth:
        """As many test rows as the gate says it takes."""
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
    """How often the gate decides what. Draws with the same counts have the same verdict, which is found once."""
    drawn = np.random.default_rng(seed).multinomial(truth.rows, truth.outcomes, size=draws)
    counted: Counter[Decision] = Counter()
    for (fixed, broken, _), times in zip(*np.unique(drawn, axis=0, return_counts=True), strict=True):
        counted[outcome(accuracy(int(fixed), int(broken), truth.rows), truth.max_regression)] += int(times)
    return {decision: counted[decision] / draws for decision in ("promote", "inconclusive", "reject")}


def accuracy(fixed: int, broken: int, rows: int) -> Interval:
    """The interval that the gate finds for these counts."""
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
    """The same for a metric over classes of unequal size, whose mistakes fall on any other class."""
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
    print(line("truth", "rows", "promote", "not enough", "reject", "promised"))

    def show(words: str, rows: int, found: dict[Decision, float], promised: str) -> None:
        print(line(words, f"{rows:,}", *(f"{share:.1%}" for share in found.values()), promised))

    for truth in (*EQUAL, *WORSE):
        words = f"accuracy {truth.candidate} against {truth.production}, may lose {truth.max_regression:g}"
        show(words, truth.rows, shares(truth, 10_000), f"promote at most {ALPHA:.1%}")
    for power in (0.5, 0.8, 0.95):
        for each in BETTER:
            truth = each.with_enough_rows(power)
            words = f"accuracy {truth.candidate} against {truth.production}, may lose {truth.max_regression:g}"
            show(words, truth.rows, shares(truth, 10_000), f"promote {power:.0%}")
    sizes = (0.6, 0.3, 0.1)
    for accuracies, promised in (((0.85, 0.85), f"promote at most {ALPHA:.1%}"), ((0.9, 0.85), "")):
        found = shares_over_classes("macro_f1", accuracies, sizes, 500, 2000, 2000)
        show(f"macro F1, accuracy {accuracies[0]} against {accuracies[1]}", 500, found, promised)


if __name__ == "__main__":
    main()

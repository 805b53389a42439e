"""Error rates of the gate on simulated models."""

from __future__ import annotations

import time

import numpy as np
import pytest
from programs.gate_simulation import (
    ALPHA,
    BETTER,
    CONFIDENCE,
    EQUAL,
    RESAMPLES,
    WORSE,
    Truth,
    accuracy,
    shares,
    shares_over_classes,
)
from samples.answers import answers, classifier, label_answers, labeller
from scipy.stats import binomtest

from modelworks.evaluation.gate.decision import outcome
from modelworks.evaluation.statistics import mcnemar
from modelworks.evaluation.statistics.paired_comparison import Comparison, compare
from modelworks.evaluation.statistics.sample_size import rows_needed
from modelworks.records import Interval

DRAWS = 1000
MARGIN = 3.0
"""Standard deviations of a share in the simulation."""


def at_most(share: float) -> float:
    return share + MARGIN * np.sqrt(share * (1 - share) / DRAWS)


@pytest.mark.parametrize("truth", EQUAL, ids=lambda truth: f"{truth.rows} rows, {truth.candidate:g} right")
def test_equal_model_is_promoted_with_probability_of_at_most_alpha(truth: Truth) -> None:
    assert shares(truth, DRAWS)["promote"] <= at_most(ALPHA)


@pytest.mark.parametrize("truth", WORSE, ids=lambda truth: f"{truth.rows} rows")
def test_model_worse_by_the_limit_is_promoted_with_probability_of_at_most_alpha(truth: Truth) -> None:
    assert shares(truth, DRAWS)["promote"] <= at_most(ALPHA)


@pytest.mark.parametrize(
    "truth",
    [BETTER[0], *(pytest.param(each, marks=pytest.mark.slow) for each in BETTER[1:])],
    ids=lambda truth: f"{truth.candidate:g} against {truth.production:g}",
)
def test_better_model_is_promoted_with_the_stated_power(truth: Truth) -> None:
    found = shares(truth.with_enough_rows(0.8), DRAWS)["promote"]
    # The number of rows is a normal approximation: allow some points beyond the simulation's spread.
    assert found == pytest.approx(0.8, abs=0.03 + MARGIN * np.sqrt(0.8 * 0.2 / DRAWS))


def test_equal_model_over_unbalanced_classes_is_promoted_with_probability_of_at_most_alpha() -> None:
    draws = 200
    found = shares_over_classes("macro_f1", (0.85, 0.85), (0.6, 0.3, 0.1), 300, draws, 1000)
    assert found["promote"] <= ALPHA + MARGIN * np.sqrt(ALPHA * (1 - ALPHA) / draws)


@pytest.mark.parametrize(("fixed", "decision"), [(5, "inconclusive"), (6, "promote")])
def test_wins_without_losses_agree_with_mcnemars_test(fixed: int, decision: str) -> None:
    assert (mcnemar.p_value(fixed, 0) < 2 * ALPHA) == (decision == "promote")
    assert outcome(accuracy(fixed, 0, 400), 0.0) == decision


def compared_labels(metric: str, rows: int, *, missed: int, false_alarms: int) -> Interval:
    """Compare a candidate without errors with a baseline that has the given errors; half of the rows have the label."""
    wanted = np.zeros((rows, 1), dtype=np.uint8)
    wanted[: rows // 2] = 1
    baseline = wanted.copy()
    baseline[:missed] = 0
    baseline[rows - false_alarms :] = 1
    sides = label_answers(wanted), label_answers(baseline)
    return compare(
        labeller(1), metric, *sides, {"labels": wanted}, confidence=CONFIDENCE, resamples=RESAMPLES
    ).difference


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1", "subset_accuracy"])
@pytest.mark.parametrize("wrong", ["missed", "false_alarms"])
@pytest.mark.parametrize(("fixed", "decision"), [(5, "inconclusive"), (6, "promote")])
def test_wins_of_labels_without_losses_agree_with_mcnemars_test(
    metric: str, wrong: str, fixed: int, decision: str
) -> None:
    mistakes = {"missed": 0, "false_alarms": 0, wrong: fixed}
    assert outcome(compared_labels(metric, 800, **mistakes), 0.0) == decision


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1", "subset_accuracy"])
def test_identical_label_predictions_pass_only_with_an_allowed_regression(metric: str) -> None:
    found = compared_labels(metric, 1000, missed=0, false_alarms=0)
    assert (found.value, found.high) == (0, 0)
    assert found.low == pytest.approx(-0.0037, abs=2e-4)  # 3.7 losses: of rows, or of 500 labels for half as much each
    assert outcome(found, 0.0) == "inconclusive"
    assert outcome(found, 0.005) == "promote"


def test_identical_predictions_pass_only_with_an_allowed_regression() -> None:
    found = accuracy(0, 0, 1000)
    assert (found.value, found.high) == (0, 0)
    assert found.low == pytest.approx(-0.0037, abs=1e-4)  # unseen losses of a thousand rows
    assert outcome(found, 0.0) == "inconclusive"
    assert outcome(found, 0.005) == "promote"
    assert outcome(found, 0.003) == "inconclusive"


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (1, 0), (3, 9), (9, 3), (40, 40), (700, 800), (0, 2000)])
def test_mcnemars_exact_test_equals_scipy(fixed: int, broken: int) -> None:
    expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    assert mcnemar.p_value(fixed, broken) == pytest.approx(expected, rel=1e-9)


def test_rows_needed_depends_on_difference_and_deviation() -> None:
    def needed(value: float, limit: float, deviation: float = 0.3) -> int | None:
        difference = Interval(value=value, low=value - 1, high=value + 1, confidence=0.95)
        return rows_needed(Comparison(difference=difference, deviation=deviation, rows=100), limit)

    assert needed(0.02, 0.0) == 1766  # ((1.9600 + 0.8416) * 0.3 / 0.02) ** 2
    assert needed(-0.02, 0.0) == 1766  # to show a regression
    assert needed(0.0, -0.02) == 1766
    assert needed(-0.02, -0.02) is None
    assert needed(0.0, -0.01, deviation=0.0) == 368  # 0.99 ** 368: probability of no loss at a rate of 1 %


@pytest.mark.parametrize("metric", classifier(4).metrics)
def test_gain_is_the_difference_of_the_metrics(metric: str) -> None:
    generator = np.random.default_rng(0)
    labels, *predicted = generator.integers(4, size=(3, 300))
    objective, truth = classifier(4), {"label": labels}
    ours, theirs = (answers(each, 4, sure) for each, sure in zip(predicted, (0.9, 0.6), strict=True))
    found = compare(objective, metric, ours, theirs, truth, confidence=0.9, resamples=1000).difference
    values = [objective.point_estimates(each, truth)[metric] for each in (ours, theirs)]
    sign = 1 if objective.metrics[metric].better == "max" else -1
    assert found.value == pytest.approx(sign * (values[0] - values[1]))
    assert found.low < found.value < found.high
    assert found.confidence == 0.9


@pytest.mark.parametrize("classes", [10, 100])
def test_ten_thousand_resamples_of_ten_thousand_rows_are_fast(classes: int) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(classes, size=10_000)
    ours, theirs = (
        np.where(generator.random(10_000) < 0.85, labels, generator.integers(classes, size=10_000)) for _ in range(2)
    )
    sides = answers(ours, classes), answers(theirs, classes)
    started = time.process_time()
    compare(classifier(classes), "macro_f1", *sides, {"label": labels}, confidence=0.95, resamples=RESAMPLES)
    # 0.3 and 0.7 s on the development machine; CPU time depends less on other load.
    assert time.process_time() - started < 2.0

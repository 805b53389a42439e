"""Coverage of confidence intervals, and properties of the bootstrap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from samples.answers import answers, classifier, label_answers, labeller
from scipy.stats import binomtest

from modelworks.evaluation.config import EvaluateConfig
from modelworks.evaluation.statistics import bootstrap
from modelworks.evaluation.statistics.bootstrap import CHUNK, resample, wilson
from modelworks.evaluation.statistics.intervals import intervals
from modelworks.evaluation.statistics.paired_comparison import compare, compare_scores
from modelworks.objectives.metrics.class_counts import ClassCounts, macro_metric
from modelworks.records import Interval

CONFIG = EvaluateConfig(resamples=400)


MACRO = ("macro_f1", "balanced_accuracy", "macro_precision", "macro_recall")


def intervals_of(labels: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, Interval]:
    return intervals(classifier(classes), answers(predicted, classes), {"label": labels}, CONFIG)


def compared(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray, classes: int) -> Interval:
    """Return the interval of the gain in accuracy."""
    sides = answers(ours, classes), answers(theirs, classes)
    return compare(
        classifier(classes), "accuracy", *sides, {"label": labels}, confidence=0.95, resamples=400
    ).difference


@pytest.mark.parametrize(("hits", "rows"), [(0, 7), (1, 7), (480, 500), (500, 500)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_equals_scipy(hits: int, rows: int, confidence: float) -> None:
    found = wilson(hits, rows, confidence)
    expected = binomtest(hits, rows).proportion_ci(confidence, "wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("rows", "prior", "right"),
    [(300, (0.6, 0.3, 0.1), 0.75), (200, (0.95, 0.05), 0.97), (100, (0.1,) * 10, 0.99)],
    ids=["ordinary", "a class of ten rows", "few errors"],
)
def test_intervals_have_about_nominal_coverage(rows: int, prior: tuple[float, ...], right: float) -> None:
    classes = len(prior)
    errors = np.full((classes, classes), (1 - right) / (classes - 1))
    np.fill_diagonal(errors, right)
    joint = np.array(prior)[:, None] * errors
    exact = ClassCounts(hits=np.diag(joint).copy(), actual=joint.sum(1), predicted=joint.sum(0))
    rng = np.random.default_rng(0)
    exactly = {name: float(macro_metric(name, exact)) for name in MACRO} | {"accuracy": float(exact.hits.sum())}
    covered = dict.fromkeys(exactly, 0)
    for _ in range(150):
        cells = rng.choice(joint.size, size=rows, p=joint.ravel())
        labels, predicted = cells // classes, cells % classes
        found = intervals_of(labels, predicted, classes)
        for metric, value in exactly.items():
            covered[metric] += found[metric].low <= value <= found[metric].high
    # Four standard deviations of 150 draws below 95 % is 88 %.
    assert min(covered.values()) / 150 >= 0.88, covered


def test_paired_interval_has_about_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        labels = rng.integers(3, size=300)
        # Both models fail on the same hard rows; the candidate is right on 8 % more of the others.
        hard = rng.random(300) < 0.2
        ours = np.where(hard | (rng.random(300) < 0.05), (labels + 1) % 3, labels)
        theirs = np.where(hard | (rng.random(300) < 0.15), (labels + 1) % 3, labels)
        found = compared(labels, ours, theirs, 3)
        covered += found.low <= 0.8 * 0.1 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_paired_interval_is_narrower_than_separate_intervals() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=1000)
    theirs = np.where(rng.random(1000) < 0.3, (labels + 1) % 3, labels)
    ours = np.where(rng.random(1000) < 0.02, labels, theirs)
    paired = compared(labels, ours, theirs, 3)
    alone = wilson(int((ours == labels).sum()), 1000, 0.95)
    assert paired.low <= paired.value <= paired.high
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_intervals_without_errors_are_not_points() -> None:
    labels = np.repeat([0, 1], [90, 10])
    found = intervals_of(labels, labels, 2)
    assert all(found[metric].value == found[metric].high == 1.0 for metric in (*MACRO, "accuracy"))
    # Three unseen errors in a hundred rows; if all were among the ten they would cost 0.15 of the mean recall.
    assert found["accuracy"].low == pytest.approx(0.963, abs=1e-3)
    assert found["macro_recall"].low == pytest.approx(1 - 0.295 / 2, abs=0.01)
    assert found["macro_f1"].low < 0.95
    assert found["macro_precision"].low < 0.95


def test_label_intervals_without_errors_are_not_points() -> None:
    wanted = np.array([[1, 0]] * 80 + [[1, 1]] * 10 + [[0, 0]] * 10, dtype=np.uint8)
    found = intervals(labeller(2), label_answers(wanted), {"labels": wanted}, CONFIG)
    assert all(found[metric].value == found[metric].high == 1.0 for metric in ("micro_f1", "macro_f1"))
    # Three unseen misses: of all labels, and among the ten rows of the rare one.
    assert found["micro_f1"].low == pytest.approx(2 * 97 / (100 + 97), abs=1e-3)
    assert found["macro_f1"].low == pytest.approx((1 + 2 * 7 / (10 + 7)) / 2, abs=5e-3)
    assert found["subset_accuracy"].low == pytest.approx(0.963, abs=1e-3)


def test_label_without_rows_does_not_change_macro_f1() -> None:
    wanted = np.array([[1, 0]] * 50 + [[0, 0]] * 50, dtype=np.uint8)
    both = intervals(labeller(2), label_answers(wanted), {"labels": wanted}, CONFIG)
    alone = intervals(labeller(1), label_answers(wanted[:, :1]), {"labels": wanted[:, :1]}, CONFIG)
    assert both["macro_f1"] == alone["macro_f1"]


def test_log_loss_has_the_interval_of_a_mean() -> None:
    probabilities = np.random.default_rng(0).dirichlet((2, 1), size=800).astype(np.float32)
    labels = np.zeros(800, dtype=np.int16)
    predicted = {"predicted": probabilities.argmax(1), "probabilities": probabilities}
    found = intervals(classifier(2), predicted, {"label": labels}, EvaluateConfig())["log_loss"]
    losses = -np.log(probabilities[:, 0].astype(float))
    half = 1.96 * losses.std() / np.sqrt(800)
    assert found.value == pytest.approx(losses.mean(), rel=1e-5)
    assert (found.low, found.high) == pytest.approx((losses.mean() - half, losses.mean() + half), abs=half / 5)


def test_intervals_are_reproducible() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(3, size=(2, 100))
    first, second = (intervals_of(labels, predicted, 3) for _ in range(2))
    assert first == second


def draws_of(counts: npt.NDArray[np.int64], resamples: int) -> npt.NDArray[np.float64]:
    """Return the counts of each kind: (resamples, kinds)."""
    return resample(lambda drawn: drawn.T.astype(np.float64), counts, resamples).T


def test_resamples_keep_the_number_of_rows_in_bounded_chunks() -> None:
    sizes: list[int] = []

    def rows(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        sizes.append(drawn.size)
        return drawn.sum(axis=1).astype(np.float64)

    found = resample(rows, np.full(3000, 2), 2000)
    assert found.tolist() == [6000] * 2000
    assert len(sizes) > 1
    assert max(sizes) <= CHUNK


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_resamples_do_not_depend_on_the_number_of_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.full(3000, 2)
    expected = draws_of(counts, 500)
    monkeypatch.setattr(bootstrap, "cores", lambda: threads)
    np.testing.assert_array_equal(draws_of(counts, 500), expected)
    assert len(np.unique(expected, axis=0)) == 500


@pytest.mark.parametrize(
    "counts", [[1, 2, 3, 1, 9, 10, 40, 34], [1, 1, 2], [50, 30, 20]], ids=["both", "rare", "frequent"]
)
def test_resamples_of_rare_kinds_are_multinomial(counts: list[int]) -> None:
    draws = draws_of(np.array(counts), 40_000)
    rows, shares = sum(counts), np.array(counts) / sum(counts)
    expected = rows * (np.diag(shares) - np.outer(shares, shares))
    np.testing.assert_allclose(draws.mean(axis=0), rows * shares, atol=5 * np.sqrt(expected.max() / 40_000))
    # Five standard errors of a covariance of normal draws.
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 40_000)
    assert (np.abs(np.cov(draws.T, bias=True) - expected) < 5 * error).all()
    for kind, share in enumerate(shares):
        assert np.mean(draws[:, kind] == 0) == pytest.approx((1 - share) ** rows, abs=0.013)


def test_comparison_of_scores_equals_that_of_accuracy() -> None:
    rng = np.random.default_rng(0)
    labels, ours, theirs = rng.integers(3, size=(3, 200))
    scores = compare_scores(
        (ours == labels).astype(float), (theirs == labels).astype(float), "max", confidence=0.95, resamples=400
    ).difference
    expected = compared(labels, ours, theirs, 3)
    assert (scores.value, scores.low, scores.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_gain_is_positive_for_a_lower_score_that_should_be_low() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.gamma(2, size=300)
    ours = theirs * rng.uniform(0.8, 1.0, size=300)
    found = compare_scores(ours, theirs, "min", confidence=0.95, resamples=1000)
    half = 1.96 * (theirs - ours).std() / np.sqrt(300)
    assert found.difference.value == pytest.approx((theirs - ours).mean())
    assert found.difference.low == pytest.approx(found.difference.value - half, abs=half / 4)
    assert found.difference.high == pytest.approx(found.difference.value + half, abs=half / 4)

"""Metrics from class counts equal those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from samples.answers import answers, classifier

from modelworks.objectives.figures import Matrix
from modelworks.objectives.metrics import class_metrics
from modelworks.objectives.metrics.class_counts import count

REFERENCE = {
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "macro_f1": lambda labels, predicted: reference.f1_score(labels, predicted, average="macro", zero_division=0),
    "macro_precision": lambda labels, predicted: reference.precision_score(
        labels, predicted, average="macro", zero_division=0
    ),
    "macro_recall": lambda labels, predicted: reference.recall_score(
        labels, predicted, average="macro", zero_division=0
    ),
}

# Many rows; few rows of many classes, some never occurring or never predicted; one class only.
CASES = {"many": (500, 5, 0.7), "sparse": (12, 9, 0.4), "perfect": (30, 3, 1.0), "hopeless": (30, 3, 0.0)}


def draw(case: str) -> tuple[np.ndarray, np.ndarray, int]:
    rows, classes, right = CASES[case]
    rng = np.random.default_rng(3)
    labels = rng.integers(classes, size=rows)
    others = (labels + rng.integers(1, classes, size=rows)) % classes
    return labels, np.where(rng.random(rows) < right, labels, others), classes


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metric", REFERENCE)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # scikit-learn's remark on sparse rows
def test_metric_equals_scikit_learn(metric: str, case: str) -> None:
    labels, predicted, classes = draw(case)
    found = classifier(classes).point_estimates(answers(predicted, classes), {"label": labels})[metric]
    assert found == pytest.approx(REFERENCE[metric](labels, predicted), abs=1e-12)


@pytest.mark.parametrize("dense", [0, 10**6], ids=["sparse", "dense"])
@pytest.mark.parametrize("metric", REFERENCE)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # scikit-learn's remark on sparse rows
def test_weighted_counts_equal_repeated_rows(metric: str, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_metrics, "DENSE", dense)
    labels, predicted, classes = draw("sparse")
    objective = classifier(classes)
    counts = np.random.default_rng(0).multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=20)
    group = objective.metrics[metric].group
    statistics = objective.statistics(group, answers(predicted, classes), {"label": labels})
    of_kinds = np.stack([np.bincount(statistics.of_row, each, statistics.values.shape[0]) for each in counts])
    found = objective.evaluate(group, statistics.sums(of_kinds))[metric]
    expected = [REFERENCE[metric](np.repeat(labels, each), np.repeat(predicted, each)) for each in counts]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_per_class_figures_and_confusion_matrix_equal_scikit_learn(case: str) -> None:
    labels, predicted, classes = draw(case)
    counted = count(labels, predicted, classes)
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=0
    )
    for found, expected in zip(
        (counted.precision, counted.recall, counted.f1, counted.actual), (precision, recall, f1, support), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    matrix = reference.confusion_matrix(labels, predicted, labels=range(classes))
    figures = classifier(classes).report(answers(predicted, classes), {"label": labels}, 0.95)
    (drawn,) = (figure for figure in figures if isinstance(figure, Matrix))
    np.testing.assert_array_equal(drawn.counts, matrix)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_log_loss_equals_scikit_learn_for_zero_probabilities(kind: type) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=200)
    probabilities = rng.dirichlet((0.3, 0.3, 0.3), size=200).astype(kind)
    probabilities[0] = 0
    probabilities[0, (labels[0] + 1) % 3] = 1
    expected = reference.log_loss(labels, probabilities, labels=range(3))
    tolerance = 1e-12 if kind is np.float64 else 1e-6  # scikit-learn sums in the input's dtype
    predicted = {"predicted": probabilities.argmax(axis=1), "probabilities": probabilities}
    found = classifier(3).point_estimates(predicted, {"label": labels})["log_loss"]
    assert found == pytest.approx(expected, rel=tolerance)

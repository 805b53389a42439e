from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as reference
from samples.answers import classifier

from modelworks.objectives.metrics.calibration import reliability
from modelworks.objectives.metrics.ranking import average_precision, roc_auc

PAIRS = [(roc_auc, reference.roc_auc_score), (average_precision, reference.average_precision_score)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["roc_auc", "average_precision"])
def test_resamples_with_ties_equal_scikit_learn(ours: Callable[..., np.ndarray], theirs: Callable[..., float]) -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.random(150), 2)
    positive = rng.random(150) < scores
    counts = rng.multinomial(150, np.full(150, 1 / 150), size=8)
    written_out = [np.repeat(np.arange(150), each) for each in counts]
    expected = [theirs(positive[rows], scores[rows]) for rows in written_out]
    assert ours(scores, positive, counts) == pytest.approx(expected)


@pytest.mark.parametrize("ours", [roc_auc, average_precision])
def test_resample_without_positive_rows_is_nan(ours: Callable[..., np.ndarray]) -> None:
    found = ours(np.array([0.1, 0.9]), np.array([False, True]), np.array([[2, 0], [1, 1]]))
    assert np.isnan(found[0])
    assert found[1] == 1


def rows(classes: int, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), 200).astype(np.float32)
    labels = np.array([rng.choice(classes, p=row / row.sum()) for row in probabilities.astype(np.float64)])
    return {"predicted": probabilities.argmax(axis=1), "probabilities": probabilities}, {"label": labels}


def test_several_classes_are_averaged_one_vs_rest() -> None:
    predicted, truth = rows(4)
    found = classifier(4).point_estimates(predicted, truth)
    expected = reference.roc_auc_score(truth["label"], predicted["probabilities"], multi_class="ovr")
    assert found["roc_auc"] == pytest.approx(expected, abs=1e-6)


def test_calibration_error_equals_that_of_the_diagram() -> None:
    predicted, truth = rows(3)
    sure = predicted["probabilities"].max(axis=1).astype(np.float64)
    drawn = reliability(sure, predicted["predicted"] == truth["label"])
    assert classifier(3).point_estimates(predicted, truth)["calibration_error"] == pytest.approx(drawn.error)


def test_positive_class_has_additional_metrics() -> None:
    predicted, truth = rows(3)
    objective = classifier(3)
    assert "positive_f1" not in objective.metrics
    objective.spec["positive"] = objective.classes[2]
    found = objective.point_estimates(predicted, truth)
    hit = truth["label"] == 2
    assert found["positive_f1"] == pytest.approx(reference.f1_score(hit, predicted["predicted"] == 2))
    assert found["positive_recall"] == pytest.approx(reference.recall_score(hit, predicted["predicted"] == 2))
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(hit, predicted["probabilities"][:, 2]))
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(hit, predicted["probabilities"][:, 2])
    )

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from modelworks.objectives.figures import Scatter
from modelworks.objectives.regression import Regression

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(1000, 3, 400)
FOUND = TRUTH + RNG.normal(0, 1, 400)


def fitted(loss: str = "gaussian", delta: float = 1.0) -> Regression:
    parts = [{"number": TRUTH[:150].tolist()}, {"number": TRUTH[150:].tolist()}]
    return Regression.fit({"loss": loss, "delta": delta}, {"number": {"kind": "number"}}, parts)


def test_mean_and_deviation_of_chunks_equal_those_of_all_rows() -> None:
    spec = fitted().spec
    assert (spec["mean"], spec["std"]) == (pytest.approx(TRUTH.mean()), pytest.approx(TRUTH.std()))


def test_rows_of_one_number_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        Regression.fit({"loss": "gaussian", "delta": 1.0}, {}, [{"number": [2.0, 2.0, 2.0]}])


def test_metrics_equal_scikit_learn() -> None:
    found = fitted().point_estimates({"predicted": FOUND}, {"number": TRUTH})
    assert found == {
        "mae": pytest.approx(np.abs(FOUND - TRUTH).mean()),
        "rmse": pytest.approx(np.sqrt(((FOUND - TRUTH) ** 2).mean())),
        "r2": pytest.approx(r2_score(TRUTH, FOUND)),
    }


@pytest.mark.parametrize("loss", ["gaussian", "huber"])
def test_loss_is_additive_and_decreases_towards_the_truth(loss: str) -> None:
    objective = fitted(loss)
    targets = {"number": torch.tensor(TRUTH[:8])}
    exact = torch.tensor((TRUTH[:8] - objective.spec["mean"]) / objective.spec["std"])[:, None].float()
    total = objective.loss(exact + 3, targets, training=True)
    parts = [
        objective.loss(exact[each] + 3, {"number": targets["number"][each]}, training=True)
        for each in (slice(0, 3), slice(3, 8))
    ]
    assert total.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-5)
    assert objective.loss(exact, targets, training=True).item() == pytest.approx(0, abs=1e-4)
    assert total.item() == pytest.approx(8 * (4.5 if loss == "gaussian" else 2.5), rel=1e-3)


def test_predictions_are_in_the_units_of_the_data() -> None:
    objective = fitted()
    found = objective.predict(torch.tensor([[0.0], [1.0]]))["predicted"]
    assert found == pytest.approx([objective.spec["mean"], objective.spec["mean"] + objective.spec["std"]])
    assert objective.answers({"predicted": found})[0] == {"value": pytest.approx(TRUTH.mean())}


def test_trivial_baseline_has_r2_of_zero() -> None:
    objective = fitted()
    answer = objective.baseline({"number": TRUTH}, 5)
    assert answer["predicted"] == pytest.approx(np.full(5, TRUTH.mean()))
    of_all = objective.baseline({"number": TRUTH}, len(TRUTH))
    assert objective.point_estimates(of_all, {"number": TRUTH})["r2"] == pytest.approx(0)


def test_report_has_residuals() -> None:
    scatter, bars = fitted().report({"predicted": FOUND}, {"number": TRUTH}, 0.95)
    assert isinstance(scatter, Scatter)
    assert scatter.y == pytest.approx(TRUTH - FOUND)
    assert bars.counts.sum() == len(TRUTH)


def test_disagreement_is_in_standard_deviations() -> None:
    objective = fitted()
    other = FOUND.copy()
    other[3] += objective.spec["std"]
    assert objective.disagreement({"predicted": FOUND}, {"predicted": other}) == pytest.approx(1)

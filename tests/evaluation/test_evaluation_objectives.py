"""Evaluation, gate and pages work for every objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelworks.evaluation import inference
from modelworks.evaluation.config import EvaluateConfig, GateConfig, SliceConfig
from modelworks.evaluation.evaluate import evaluate
from modelworks.evaluation.gate.decision import decide
from modelworks.evaluation.gate.production_baseline import score_baseline
from modelworks.evaluation.reports import evaluation_report, gate_report
from modelworks.evaluation.statistics.intervals import intervals
from modelworks.evaluation.statistics.paired_comparison import compare
from modelworks.objectives.base import Objective
from modelworks.objectives.classification import Classification
from modelworks.objectives.multilabel import Multilabel
from modelworks.objectives.regression import Regression
from modelworks.records import ModelVersion, TrainedModel

ROWS = 90
CONFIG = EvaluateConfig(resamples=200)
RANDOM = np.random.default_rng(0)
TEXTS = [f"number {row} of {RANDOM.integers(99)}" for row in range(ROWS)]
NUMBERS = RANDOM.normal(20, 3, ROWS).tolist()
SETS = [sorted({"abc"[row % 3], "abc"[row % 2]}) for row in range(ROWS)]

REGRESSION = Regression({"mean": 20.0, "std": 3.0, "loss": "gaussian", "delta": 1.0})
MULTILABEL = Multilabel({"classes": ["a", "b", "c"], "thresholds": [0.5] * 3})
RANKING = Classification({"classes": ["no", "yes"], "positive": "yes"})
CASES: dict[str, tuple[Objective, Sequence[Any], GateConfig]] = {
    "regression": (REGRESSION, NUMBERS, GateConfig(maximums={"mae": 9.0}, max_regression=0.1, resamples=1000)),
    "multilabel": (MULTILABEL, SETS, GateConfig(minimums={"micro_f1": 0.1}, resamples=1000)),
    "ranking": (
        RANKING,
        [("no", "yes")[row % 2] for row in range(ROWS)],
        GateConfig(minimums={"roc_auc": 0.0}, compare="roc_auc", resamples=1000),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_objective_is_scored_compared_and_reported(
    trained: Callable[..., TrainedModel], save_model: Callable[..., None], tmp_path: Path, case: str
) -> None:
    objective, values, gate = CASES[case]
    model = trained("text", TEXTS, values, objective)
    folder = tmp_path / "score"
    folder.mkdir()
    evaluation = evaluate(model, CONFIG, folder, folder, "e")
    assert list(evaluation.metrics) == list(objective.metrics)
    assert evaluation.baseline.keys() == evaluation.metrics.keys()
    for name, metric in objective.metrics.items():
        found = evaluation.metrics[name]
        assert found.low <= found.value <= found.high
        assert metric.lowest is None or metric.lowest <= found.low
        assert metric.highest is None or found.high <= metric.highest

    save_model(tmp_path / "old", "text", TEXTS, objective, (), seed=7)
    version = ModelVersion(
        evaluation=evaluation, key="k", name="own", version=4, run_id="r", experiment_id="1", digest="d"
    )
    found = decide(version, gate, score_baseline(3, tmp_path / "old", evaluation), "gate-key")
    compared = gate.compare or next(iter(objective.metrics))
    names = [check.name for check in found.verdict.checks]
    assert {f"the gain in {compared} over version 3", f"the gain in {compared} over the trivial baseline"} <= {*names}
    changed = found.verdict.changes
    assert changed is not None
    assert changed.rows == ROWS - 3 >= changed.fixed + changed.broken + changed.otherwise > 0

    pages = tmp_path / "pages"
    pages.mkdir()
    evaluation_report.render(evaluation, CONFIG, pages)
    gate_report.write_details(pages, found)
    gate_report.render(pages, found, 0.95)
    assert {"report.html", "verdict.html", "verdict.json", "worst_mistakes.csv"} <= {
        path.name for path in pages.iterdir()
    }
    for path in pages.glob("*.png"):
        with Image.open(path) as image:
            image.load()
    if case == "regression":
        assert (pages / "residuals.png").exists()
        assert changed.calibration_error is None
        assert f"mean absolute error {evaluation.metrics['mae'].value:.4f}" in (pages / "report.html").read_text()


def regressed(spread: float, seed: int) -> dict[str, np.ndarray]:
    return {"predicted": np.array(NUMBERS) + np.random.default_rng(seed).normal(0, spread, ROWS)}


def test_smaller_error_is_a_gain() -> None:
    truth = {"number": np.array(NUMBERS)}
    ours, theirs = regressed(0.5, 1), regressed(2.0, 2)
    for metric in REGRESSION.metrics:
        found = compare(REGRESSION, metric, ours, theirs, truth, confidence=0.95, resamples=1000)
        values = [REGRESSION.point_estimates(each, truth)[metric] for each in (ours, theirs)]
        assert found.difference.value == pytest.approx(abs(values[0] - values[1]))
        assert found.difference.low > 0
    gap = np.abs(theirs["predicted"] - NUMBERS) - np.abs(ours["predicted"] - NUMBERS)
    of_mae = compare(REGRESSION, "mae", ours, theirs, truth, confidence=0.95, resamples=2000)
    half = 1.96 * gap.std() / np.sqrt(ROWS)
    assert of_mae.difference.low == pytest.approx(gap.mean() - half, abs=half / 4)
    assert of_mae.deviation == pytest.approx(gap.std(), rel=0.1)


def test_slices_of_a_regression_have_a_maximum(trained: Callable[..., TrainedModel], tmp_path: Path) -> None:
    model = trained("text", TEXTS, NUMBERS, REGRESSION)
    folder = tmp_path / "score"
    folder.mkdir()
    evaluation = evaluate(model, CONFIG, folder, folder, "e")
    kept = inference.read(folder)
    inference.write(replace(kept, predicted={"predicted": kept.truth["number"] + 1}), folder)
    version = ModelVersion(
        evaluation=evaluation, key="k", name="own", version=4, run_id="r", experiment_id="1", digest="d"
    )
    for limit, decision in ((1.5, "promote"), (0.5, "reject")):
        gate = GateConfig(maximums={"mae": 9.0}, slices=SliceConfig(by=("text",), min_rows=1, maximum=limit))
        verdict = decide(version, gate, None, "g").verdict
        check = verdict.checks[-1]
        assert (check.name, check.required) == ("the mean absolute error within each text", f"at most {limit:g}")
        assert verdict.decision == decision


def test_intervals_of_a_rank_metric_have_nominal_coverage() -> None:
    covered = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        labels = np.arange(120) % 2
        # Normal scores with means one standard deviation apart have an AUC of Phi(1 / sqrt(2)) = 0.760.
        scores = 1 / (1 + np.exp(-(draw.normal(size=120) + labels)))
        probabilities = np.stack([1 - scores, scores], axis=1).astype(np.float32)
        predicted = {"predicted": probabilities.argmax(axis=1), "probabilities": probabilities}
        found = intervals(RANKING, predicted, {"label": labels}, CONFIG)["roc_auc"]
        covered += found.low <= 0.7602 <= found.high
    assert covered >= 33  # 38 are expected; three standard deviations below

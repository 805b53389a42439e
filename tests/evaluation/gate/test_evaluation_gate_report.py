"""The gate page and verdict.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from samples.answers import predictions

from modelworks.evaluation import inference
from modelworks.evaluation.config import EvaluateConfig, GateConfig
from modelworks.evaluation.evaluate import evaluate
from modelworks.evaluation.gate.decision import decide
from modelworks.evaluation.gate.prediction_churn import changes, worsened
from modelworks.evaluation.gate.production_baseline import Baseline, score_baseline
from modelworks.evaluation.near_duplicates import search
from modelworks.evaluation.reports import gate_report
from modelworks.objectives.classification import Classification
from modelworks.objectives.metrics.calibration import BINS, reliability
from modelworks.records import ModelVersion, TrainedModel

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.evaluation.gate.decision import GateResult

GATE = GateConfig(minimums={"accuracy": 0.1}, resamples=1000)


def given(predicted: list[int], labels: list[int]) -> inference.Predictions:
    """Return predictions of three classes."""
    objective = Classification({"classes": ["a", "b", "c"]})
    ids = tuple(f"row{row}" for row in range(len(labels)))
    return predictions(np.array(labels), np.array(predicted), objective, sure=0.8, ids=ids)


def as_baseline(found: inference.Predictions) -> Baseline:
    return Baseline(version=3, incomparable="", predicted=found.predicted, trained_on=())


def test_changes_count_improved_worsened_and_other_rows() -> None:
    labels = [0, 0, 0, 0, 0, 0, 0, 0]
    ours = given([0, 0, 0, 1, 1, 1, 2, 0], labels)
    theirs = as_baseline(given([0, 1, 1, 0, 0, 2, 2, 1], labels))
    found = changes(ours, theirs)
    assert (found.rows, found.fixed, found.broken, found.otherwise) == (8, 3, 2, 1)
    assert found.churn == 6 / 8
    assert found.p_value == pytest.approx(1.0)
    lost = worsened(ours, theirs, 9)
    assert [(each.id, each.truth, each.answer, each.remark) for each in lost] == [
        ("row3", "a", "b", "80.0%"),
        ("row4", "a", "b", "80.0%"),
    ]
    assert len(worsened(ours, theirs, 1)) == 1


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_calibration_error_of_over_and_underconfidence(share: float) -> None:
    rows = 30_000
    right = np.random.default_rng(0).random(rows) < share
    measured = reliability(np.full(rows, 0.8), right)
    assert measured.error == pytest.approx(abs(share - 0.8), abs=0.01)
    assert measured.rows.sum() == rows
    assert np.ptp(measured.rows) <= 1
    assert len(measured.rows) == BINS


def test_fewer_rows_than_bins_give_no_empty_bins() -> None:
    measured = reliability(np.array([0.9, 0.6]), np.array([True, False]))
    assert measured.rows.tolist() == [1, 1]
    assert measured.error == pytest.approx((0.6 + 0.1) / 2)


@pytest.fixture
def judgement(
    trained: Callable[..., TrainedModel], save_model: Callable[..., None], tmp_path: Path
) -> Callable[..., GateResult]:
    """Compare two models with random weights on the same test rows."""

    def make(modality: str, *, alone: bool = False) -> GateResult:
        generator = np.random.default_rng(0)
        contents: list[Any] = [f"<i>number</i> {row} is {generator.integers(99)}" for row in range(90)]
        if modality == "image":
            contents = [b"P5\n8 8\n255\n" + generator.bytes(64) for _ in range(90)]
        labels = [("dusk & dawn", "noon")[row % 2] for row in range(90)]
        model = trained(modality, contents, labels)
        (tmp_path / "out").mkdir()
        evaluation = evaluate(model, EvaluateConfig(resamples=100), tmp_path / "out", tmp_path / "out", "e")
        version = ModelVersion(
            evaluation=evaluation, key="k", name="times", version=4, run_id="r", experiment_id="1", digest="d"
        )
        baseline = None
        if not alone:
            save_model(
                tmp_path / "old", modality, contents, model.report.dataset.targets["label"]["classes"], (), seed=6
            )
            baseline = score_baseline(3, tmp_path / "old", evaluation)
        return decide(version, GATE, baseline, "gate-key")

    return make


@pytest.mark.parametrize("modality", ["image", "text"])
def test_report_has_page_pictures_and_complete_json(
    judgement: Callable[..., GateResult], tmp_path: Path, modality: str
) -> None:
    found = judgement(modality)
    changed = found.verdict.changes
    assert changed is not None
    assert changed.broken > 0  # two models with random weights
    folder = tmp_path / "verdict"
    folder.mkdir()
    gate_report.write_details(folder, found)
    gate_report.render(folder, found, 0.95)
    drawn = {"differences.png", "calibration.png", *(["newly_wrong.png"] if modality == "image" else [])}
    assert {path.name for path in folder.iterdir()} == {"verdict.html", "verdict.json", *drawn}
    for name in drawn:
        with Image.open(folder / name) as image:
            image.load()
            assert 250 <= min(image.size) <= max(image.size) <= 2600

    details = json.loads((folder / "verdict.json").read_text())
    assert (details["version"], details["baseline"], details["gate_key"]) == (4, 3, "gate-key")
    assert details["decision"] == found.verdict.decision
    assert details["changes"]["fixed"] == changed.fixed
    assert [each["value"] for each in details["slices"]] == ["dusk & dawn", "noon"]
    assert set(details["reliability"]) == {"version 4", "version 3"}
    assert sum(part["rows"] for part in details["reliability"]["version 3"]["bins"]) == changed.rows

    html = (folder / "verdict.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == len(drawn)
    assert "http" not in html
    assert "dusk &amp; dawn" in html
    assert ("&lt;i&gt;number&lt;/i&gt;" in html) == (modality == "text")
    assert "<i>number" not in html
    assert all(check.observed in html for check in found.verdict.checks)


def test_first_version_has_a_page_without_comparison(judgement: Callable[..., GateResult], tmp_path: Path) -> None:
    folder = tmp_path / "verdict"
    folder.mkdir()
    found = judgement("text", alone=True)
    gate_report.write_details(folder, found)
    gate_report.render(folder, found, 0.95)
    assert {path.name for path in folder.iterdir()} == {"verdict.html", "verdict.json"}
    html = (folder / "verdict.html").read_text()
    assert "What changes for users" not in html
    assert "without a comparison" in html
    assert search.read(found.verdict.version.evaluation.folder).tested == 87

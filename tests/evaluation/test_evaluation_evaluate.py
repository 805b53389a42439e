"""The score stage with saved models: its files and its page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluation.small_evaluations import CONFIG, LIGHTS, MOODS, PICTURES, TEXTS, Train, artificial, run
from samples.answers import classifier, predictions

from modelworks.data import dataset_format
from modelworks.errors import Corrupt, Refused
from modelworks.evaluation import inference
from modelworks.evaluation.config import BudgetConfig
from modelworks.evaluation.evaluate import evaluate
from modelworks.evaluation.gate import resource_budgets
from modelworks.evaluation.gate.production_baseline import score_baseline
from modelworks.models import serialization
from modelworks.record_json import from_json, to_json
from modelworks.records import Evaluation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("modality", "contents", "labels"), [("image", PICTURES, LIGHTS), ("text", TEXTS, MOODS)])
def test_only_test_rows_are_scored_and_stored(
    trained: Train, tmp_path: Path, modality: str, contents: list[bytes] | list[str], labels: list[str]
) -> None:
    model = trained(modality, contents, labels)
    evaluation = run(model, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "row": "int64", "id": "string", "label": "int64", "predicted": "int16", "probabilities": "list<element: float>"
    }  # fmt: skip
    rows = table["row"].to_pylist()
    assert rows == list(range(2, len(contents) - 1))
    assert evaluation.rows == len(rows)
    classes = model.report.dataset.targets["label"]["classes"]
    assert [classes[label] for label in table["label"].to_pylist()] == labels[2:-1]
    ids = dataset_format.read(model.report.dataset.folder, ["id"])["id"].to_pylist()
    assert table["id"].to_pylist() == ids[2:-1]
    expected = serialization.load(model.model_folder).predict(contents[2:-1])
    kept = inference.read(tmp_path / "out")
    assert kept.predicted.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(kept.predicted[name], values)
    assert (kept.objective.kind, kept.objective.spec["classes"]) == ("classification", list(classes))


def test_predictions_of_an_earlier_release_are_read(tmp_path: Path) -> None:
    written = predictions(np.array([0, 1, 1]), np.array([0, 1, 0]), classifier(2), sure=0.75)
    inference.write(written, tmp_path)
    path = tmp_path / "predictions.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    found = inference.read(tmp_path)
    assert (found.ids, found.truth["label"].tolist()) == (written.ids, [0, 1, 1])
    np.testing.assert_array_equal(found.predicted["probabilities"], written.predicted["probabilities"])
    assert found.objective.num_outputs == 2


def test_trivial_baseline_is_fitted_to_training_rows_and_scored_on_test_rows(trained: Train, tmp_path: Path) -> None:
    # The two training rows have different labels; the trivial baseline predicts the first class.
    evaluation = run(trained("image", PICTURES, LIGHTS), tmp_path / "out")
    found = inference.read(tmp_path / "out", inference.BASELINE)
    assert found.ids == inference.read(tmp_path / "out").ids
    assert set(found.predicted["predicted"]) == {0}
    assert evaluation.baseline["accuracy"] == pytest.approx(np.mean([light == "bright" for light in LIGHTS[2:-1]]))
    assert evaluation.baseline.keys() == evaluation.metrics.keys()


def test_record_has_all_intervals_and_round_trips_through_json(trained: Train, tmp_path: Path) -> None:
    evaluation = run(trained("image", PICTURES, LIGHTS), tmp_path / "out")
    assert set(evaluation.metrics) == set(classifier(2).metrics)
    assert all(found.low <= found.high and found.confidence == 0.95 for found in evaluation.metrics.values())
    assert from_json(Evaluation, to_json(evaluation, tmp_path), tmp_path) == evaluation


def test_damaged_model_is_corrupt(trained: Train, tmp_path: Path) -> None:
    model = trained("image", PICTURES, LIGHTS)
    path = model.model_folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Corrupt, match=re.escape("model.safetensors")) as caught:
        run(model, tmp_path / "out")
    assert caught.value.code == "model.damaged"


def test_damaged_predictions_are_corrupt(tmp_path: Path) -> None:
    inference.write(artificial([0, 1], [0, 1]), tmp_path)
    path = tmp_path / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Corrupt, match=re.escape("predictions.parquet")) as caught:
        inference.read(tmp_path)
    assert caught.value.code == "stage.damaged"


def test_non_finite_predictions_are_refused(trained: Train, tmp_path: Path) -> None:
    model = trained("image", PICTURES, LIGHTS)
    loaded = serialization.load(model.model_folder)
    next(loaded.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(Refused, match="37 of 37") as caught:
        inference.predict(loaded, inference.held_out(model.report))
    assert caught.value.code == "model.not-finite"


def test_baseline_predicts_the_candidates_rows_and_lists_its_training_rows(
    trained: Train, save_model: Callable[..., None], tmp_path: Path
) -> None:
    model = trained("image", PICTURES, LIGHTS)
    evaluation = run(model, tmp_path / "out")
    ids = dataset_format.read(model.report.dataset.folder, ["id"])["id"].to_pylist()
    save_model(tmp_path / "old", "image", PICTURES, ("bright", "dark"), [*ids[:1], ids[5], ids[9]], seed=1)
    baseline = score_baseline(3, tmp_path / "old", evaluation)
    assert baseline.version == 3
    expected = serialization.load(tmp_path / "old").predict(PICTURES[2:-1])
    np.testing.assert_array_equal(baseline.predicted["probabilities"], expected["probabilities"])
    np.testing.assert_array_equal(baseline.predicted["predicted"], expected["predicted"])
    assert baseline.incomparable == ""
    assert baseline.trained_on == (ids[5], ids[9])


@pytest.mark.parametrize("difference", ["classes", "modality"])
def test_baseline_of_another_task_is_not_scored(
    trained: Train, save_model: Callable[..., None], tmp_path: Path, difference: str
) -> None:
    evaluation = run(trained("image", PICTURES, LIGHTS), tmp_path / "out")
    if difference == "classes":
        save_model(tmp_path / "old", "image", PICTURES, ("bright", "dark", "grey"), ())
    else:
        save_model(tmp_path / "old", "text", TEXTS, ("bright", "dark"), ())
    baseline = score_baseline(3, tmp_path / "old", evaluation)
    assert baseline.predicted == {}
    reasons = {"classes": "1 class is gone: grey", "modality": "the candidate reads images, version 3 texts"}
    assert baseline.incomparable == reasons[difference]


def test_record_has_the_final_folder(trained: Train, tmp_path: Path) -> None:
    model = trained("image", PICTURES, LIGHTS)
    (tmp_path / "temporary").mkdir()
    evaluation = evaluate(model, CONFIG, tmp_path / "temporary", tmp_path / "final", "e")
    assert evaluation.folder == tmp_path / "final"
    assert not evaluation.folder.exists()


def test_latency_is_measured_for_single_rows(trained: Train, tmp_path: Path) -> None:
    model = trained("image", PICTURES, LIGHTS)
    found = {
        finding.name: finding for finding in resource_budgets.judge(model, BudgetConfig(latency_ms=1e-6, size_mb=1e3))
    }
    assert (found["latency"].decision, found["size"].decision) == ("reject", "promote")
    (taken, *_) = found["latency"].observed.partition(" ms per row, the median of 50")
    assert 0.01 < float(taken) < 1000
    assert resource_budgets.size_mb(model.model_folder) == pytest.approx(
        sum(len(path.read_bytes()) for path in model.model_folder.rglob("*") if path.is_file()) / 1e6
    )

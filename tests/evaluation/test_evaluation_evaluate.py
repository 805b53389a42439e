"""The score stage with saved models: its files and its page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from samples.answers import answers, classifier, predictions
from samples.datasets import labelled

from modelworks.data import dataset_format
from modelworks.errors import Corrupt, Refused
from modelworks.evaluation import inference
from modelworks.evaluation.config import BudgetConfig, EvaluateConfig
from modelworks.evaluation.evaluate import evaluate
from modelworks.evaluation.gate import resource_budgets
from modelworks.evaluation.gate.production_baseline import score_baseline
from modelworks.evaluation.near_duplicates.search import NearDuplicates, Pair
from modelworks.evaluation.reports import evaluation_report, plots
from modelworks.models import serialization
from modelworks.objectives.classification import Classification
from modelworks.objectives.figures import Bars, Matrix, Scatter
from modelworks.record_json import from_json, to_json
from modelworks.records import DatasetVersion, Evaluation, Interval, TrainedModel

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = EvaluateConfig(resamples=200, worst=7)
TEXTS = [
    f"good day number {index}" if index % 2 else f"bad <script>alert({index})</script> " + "x " * index
    for index in range(60)
]
MOODS = ["a & <b>glad</b>" if index % 2 else "$sad$ 猫" for index in range(60)]


def picture(bright: bool, seed: int) -> bytes:
    """A 6x5 PNG."""
    pixels = np.random.default_rng(seed).integers(0, 80, (5, 6)) + (150 if bright else 0)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [picture(index % 2 == 1, index) for index in range(40)]
LIGHTS = ["bright" if index % 2 else "dark" for index in range(40)]

Train = Callable[..., TrainedModel]


def run(trained: TrainedModel, folder: Path) -> Evaluation:
    folder.mkdir()
    return evaluate(trained, CONFIG, folder, folder, "e")


def rendered(evaluation: Evaluation, folder: Path, config: EvaluateConfig = CONFIG) -> Path:
    """Render the page and return its folder."""
    (folder / "report").mkdir()
    evaluation_report.render(evaluation, config, folder / "report")
    return folder / "report"


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


def test_report_shows_the_worst_mistakes_of_images(trained: Train, tmp_path: Path) -> None:
    folder = rendered(run(trained("image", PICTURES, LIGHTS), tmp_path / "out"), tmp_path)
    names = {"report.html", "confusion_matrix.png", "calibration.png", "per_class.csv", "worst_mistakes.png"}
    assert {path.name for path in folder.iterdir()} == names
    for name in ("confusion_matrix", "calibration", "worst_mistakes"):
        with Image.open(folder / f"{name}.png") as image:
            image.load()
            assert (image.format, min(image.size) >= 300, max(image.size) <= 2600) == ("PNG", True, True)
    with Image.open(folder / "worst_mistakes.png") as image:
        assert image.height > 0.9 * 130 + 2 * 1.85 * 130 - 5  # seven pictures: two lines
    html = (folder / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 3
    assert "http" not in html


def test_report_escapes_and_truncates_texts(trained: Train, tmp_path: Path) -> None:
    folder = rendered(run(trained("text", TEXTS, MOODS), tmp_path / "out"), tmp_path)
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in html
    assert "<b>" not in html
    assert "a &amp; &lt;b&gt;glad&lt;/b&gt;" in html
    with (folder / "worst_mistakes.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert 0 < len(rows) <= 7
    wrongness = [float(row["wrongness"]) for row in rows]
    assert wrongness == sorted(wrongness, reverse=True)
    assert all(row["truth"] != row["answer"] and row["truth"] in MOODS for row in rows)


def artificial(labels: list[int], predicted: list[int]) -> inference.Predictions:
    objective = Classification({"classes": ["no", "yes"]})
    return predictions(np.array(labels), np.array(predicted), objective, sure=0.9)


def write_report(folder: Path, found: inference.Predictions, contents: list[str]) -> None:
    dataset = DatasetVersion(
        name="notes", folder=folder, digest="", features=labelled("text", ("no", "yes")), rows=1, source={}, licence=""
    )
    rows = inference.TestSet(rows=found.rows, ids=found.ids, targets={}, contents=contents)
    metrics = {"accuracy": Interval(value=0.5, low=0.25, high=0.75, confidence=0.95)}
    alike = Pair(test="a" * 64, train="b" * 64, likeness=0.9912)
    repeated = NearDuplicates(tested=2, rows=1, examples=(alike,), metrics={}, without={"macro_f1": 0.25})
    folder.mkdir()
    evaluation_report.write(folder, dataset, rows, found, metrics, {"accuracy": 0.25}, repeated, CONFIG)


def test_long_text_is_truncated_to_280_characters(tmp_path: Path) -> None:
    write_report(tmp_path / "report", artificial([0, 1], [1, 1]), ["é" * 281, "fine"])
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "é" * 279 + "…" in html
    assert "é" * 280 not in html
    assert "2 test rows; share of right answers 0.5000" in html
    assert '0.2500 to 0.7500</td>\n<td class="number">0.2500</td>' in html


def test_report_shows_near_duplicates_and_metrics_without_them(tmp_path: Path) -> None:
    write_report(tmp_path / "report", artificial([0, 1], [1, 1]), ["a", "b"])
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "1 of 2 test rows\nare near-duplicates of training rows. Without them: macro F1 0.2500." in html
    assert f"<code>{'a' * 16}</code></td><td><code>{'b' * 16}</code>" in html


def test_report_without_mistakes(tmp_path: Path) -> None:
    write_report(tmp_path / "report", artificial([0, 1], [0, 1]), ["a", "b"])
    assert not list((tmp_path / "report").glob("worst_mistakes*"))
    assert "share of right answers 1.0000" in (tmp_path / "report" / "report.html").read_text()


def test_per_class_table_agrees_with_the_metrics(tmp_path: Path) -> None:
    write_report(tmp_path / "report", artificial([0, 0, 0, 1], [0, 0, 1, 1]), ["a"] * 4)
    with (tmp_path / "report" / "per_class.csv").open(newline="") as stream:
        rows = {row["class"]: row for row in csv.DictReader(stream)}
    assert {name: (row["rows"], float(row["precision"])) for name, row in rows.items()} == {
        "no": ("3", 1.0),
        "yes": ("1", 0.5),
    }
    assert float(rows["no"]["recall"]) == pytest.approx(2 / 3)
    assert float(rows["no"]["f1"]) == pytest.approx(0.8)


@pytest.mark.parametrize("classes", [2, 50])
def test_confusion_matrix_is_drawn_for_any_number_and_names_of_classes(classes: int, tmp_path: Path) -> None:
    labels, predicted = np.random.default_rng(0).integers(classes, size=(2, 2000))
    names = ["a $very$ long _name_ that goes on and on", "猫", *(f"class {index}" for index in range(2, classes))]
    (figure,) = (
        each
        for each in Classification({"classes": names}).report(answers(predicted, classes), {"label": labels}, 0.95)
        if isinstance(each, Matrix)
    )
    plots.draw(figure, 0.95, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as image:
        image.load()
        assert 400 <= min(image.size) <= max(image.size) <= 2400


@pytest.mark.parametrize(
    "figure",
    [
        Scatter(
            title="Values",
            file="v",
            x=np.arange(9.0),
            y=np.arange(9.0) ** 2,
            x_label="true $x$",
            y_label="y",
            line="diagonal",
        ),
        Scatter(title="Rest", file="r", x=np.arange(9.0), y=np.zeros(9), x_label="x", y_label="rest", line="zero"),
        Bars(title="Errors", file="e", counts=np.array([1, 5, 2]), edges=np.array([-1.0, 0, 1, 2]), x_label="error"),
    ],
    ids=["diagonal", "zero", "bars"],
)
def test_every_type_of_figure_is_drawn(figure: Bars | Scatter, tmp_path: Path) -> None:
    plots.draw(figure, 0.95, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        image.load()
        assert 400 <= min(image.size) <= max(image.size) <= 2400


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


def test_page_can_leave_out_mistakes(trained: Train, tmp_path: Path) -> None:
    evaluation = run(trained("image", PICTURES, LIGHTS), tmp_path / "out")
    assert not list(rendered(evaluation, tmp_path, replace(CONFIG, worst=0)).glob("worst_mistakes*"))


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

"""The evaluation page: metrics, figures and the worst mistakes."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation.small_evaluations import CONFIG, LIGHTS, MOODS, PICTURES, TEXTS, Train, artificial, run
from PIL import Image
from samples.answers import answers
from samples.datasets import labelled

from modelworks.evaluation import inference
from modelworks.evaluation.config import EvaluateConfig
from modelworks.evaluation.near_duplicates.search import NearDuplicates, Pair
from modelworks.evaluation.reports import evaluation_report, plots
from modelworks.objectives.classification import Classification
from modelworks.objectives.figures import Bars, Matrix, Scatter
from modelworks.records import DatasetVersion, Evaluation, Interval

if TYPE_CHECKING:
    from pathlib import Path


def rendered(evaluation: Evaluation, folder: Path, config: EvaluateConfig = CONFIG) -> Path:
    """Render the page and return its folder."""
    (folder / "report").mkdir()
    evaluation_report.render(evaluation, config, folder / "report")
    return folder / "report"


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


def test_page_can_leave_out_mistakes(trained: Train, tmp_path: Path) -> None:
    evaluation = run(trained("image", PICTURES, LIGHTS), tmp_path / "out")
    assert not list(rendered(evaluation, tmp_path, replace(CONFIG, worst=0)).glob("worst_mistakes*"))

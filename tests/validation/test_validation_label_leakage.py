"""Leaking features are found, and data without leakage raises no warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from faults.projects import _opinions
from sklearn.metrics import roc_auc_score

from modelworks.data.sources import Digits, Tweets
from modelworks.errors import Refused
from modelworks.records import ValidationReport
from modelworks.validation.label_leakage import _of_numbers, _of_values, _of_words, _Sides

Validate = Callable[..., ValidationReport]
WORDS = ("fine", "dull", "short", "long", "odd", "plain", "loud", "late")


def texts(rows: int = 120, **more: Callable[[int, str, np.random.Generator], Any]) -> dict[str, list[Any]]:
    """Return columns whose texts are independent of the labels; `more` makes further columns."""
    draw = np.random.default_rng(0)
    labels = [("good", "bad", "odd one")[row % 3] for row in range(rows)]
    columns: dict[str, list[Any]] = {
        "text": [f"{' '.join(draw.choice(WORDS, 6))} and {row}" for row in range(rows)],
        "label": labels,
    }
    for name, make in more.items():
        columns[name] = [make(row, label, draw) for row, label in enumerate(labels)]
    return columns


def found(report: ValidationReport) -> str:
    (check,) = (check for check in report.checks if check.name == "label leakage")
    warnings = [each for each in report.warnings if each.startswith("label leakage: ")]
    assert len(warnings) == (not check.passed)
    assert check.passed == (check.observed == "nothing")
    return check.observed


NOTHING = {
    "a number": lambda row, label, draw: f"{draw.normal():.3f}",
    "a unique number": lambda row, label, draw: str(row),
    "a unique name": lambda row, label, draw: f"document-{draw.integers(1 << 40)}",
    "a weakly correlated value": lambda row, label, draw: label if draw.random() < 0.9 else "good",
    "all missing": lambda row, label, draw: None,
}
LEAKS = {
    "a code of the label": (lambda row, label, draw: f"k{hash_of(label)}", "bad by column more (AUC 1.000)"),
    "the label in a name": (
        lambda row, label, draw: f"{label.split()[0]}/{row}.txt",
        "bad by the word 'bad' in column more (AUC 1.000)",
    ),
    "a score": (lambda row, label, draw: str((label == "bad") + draw.random() / 2), "bad by column more (AUC 1.000)"),
    "missing values": (lambda row, label, draw: None if label == "bad" else "x", "bad by column more (AUC 1.000)"),
}


def hash_of(label: str) -> int:
    """Return a code that is not in the order of the labels, so that ranks do not separate the classes."""
    return {"good": 3, "bad": 7, "odd one": 5}[label]


@pytest.mark.parametrize("make", NOTHING.values(), ids=NOTHING)
def test_column_without_leakage_raises_no_warning(validated: Validate, make: Any) -> None:
    assert found(validated(texts(more=make))) == "nothing"


@pytest.mark.parametrize(("make", "expected"), LEAKS.values(), ids=LEAKS)
def test_leaking_column_is_named(validated: Validate, make: Any, expected: str) -> None:
    report = validated(texts(more=make))
    assert expected in found(report)
    assert json.loads((report.folder / "report.json").read_text())["warnings"] == list(report.warnings)


def test_word_that_occurs_in_only_one_class_is_named(validated: Validate) -> None:
    columns = texts()
    columns["text"] = [
        f"{text} __label__{label.split()[0]}" for text, label in zip(columns["text"], columns["label"], strict=True)
    ]
    assert "good by the word '__label__good' in the text (AUC 1.000)" in found(validated(columns))


def test_leaking_image_size_is_named(validated: Validate, png: Callable[..., bytes]) -> None:
    labels = ["cat", "dog"] * 20
    images = [png(row, (6, 8) if label == "cat" else (8, 8)) for row, label in enumerate(labels)]
    assert "cat by images' width (AUC 1.000)" in found(validated({"image": images, "label": labels}))


def test_config_can_refuse_or_allow_leakage(validated: Validate, tmp_path: Path) -> None:
    columns = texts(more=lambda row, label, draw: label)
    with pytest.raises(Refused, match="label leakage: observed bad by column more ") as refused:
        validated(columns, label_leakage="refuse")
    assert refused.value.code == "checks.failed"
    assert "checks.max_single_auc" in refused.value.hint
    (tmp_path / "data" / "own").rename(tmp_path / "refused")
    assert found(validated(columns, label_leakage="refuse", max_single_auc=1.0)) == "nothing"


def test_class_with_few_rows_is_not_checked(validated: Validate) -> None:
    columns = texts(24, more=lambda row, label, draw: label)
    assert found(validated(columns)) == "nothing"


def test_areas_equal_scikit_learns() -> None:
    draw = np.random.default_rng(1)
    codes = draw.integers(0, 3, 300)
    sides = _Sides(codes, np.bincount(codes))
    numbers = np.round(codes + draw.normal(size=300), 1)  # with ties
    areas = [roc_auc_score(codes == each, numbers) for each in range(3)]
    np.testing.assert_allclose(_of_numbers(numbers, sides), [max(area, 1 - area) for area in areas])
    texts = ["a word" if draw.random() < (0.9, 0.2, 0.4)[code] else "another" for code in codes]
    ((word, found_areas), *_) = _of_words(texts, sides, 0.51)
    has = [word in text.split() for text in texts]
    areas = [roc_auc_score(codes == each, has) for each in range(3)]
    np.testing.assert_allclose(found_areas, [max(area, 1 - area) for area in areas])


def test_random_values_have_areas_near_one_half() -> None:
    draw = np.random.default_rng(2)
    codes, half = draw.integers(0, 2, 2000), draw.integers(0, 2, 2000)
    sides = _Sides(codes, np.bincount(codes))
    for values in (np.arange(2000), draw.integers(0, 5, 2000), draw.integers(0, 900, 2000)):
        assert np.abs(_of_values(values, half, sides) - 0.5).max() < 0.06


@pytest.mark.parametrize("source", [Digits(kind="digits"), Tweets(kind="tweets")], ids=["digits", "tweets"])
def test_real_data_sets_raise_no_warning(validated: Validate, source: Any, tmp_path: Path) -> None:
    read = source.read(tmp_path).columns
    sample = np.random.default_rng(0).permutation(len(read["label"]))[:8000]
    columns = {
        name: (values if name == "image" else values.cast(pa.string())).take(sample).to_pylist()
        for name, values in read.items()
    }
    assert found(validated(columns, max_bad_share=0.2)) == "nothing"


def test_words_correlated_with_the_class_raise_no_warning(validated: Validate) -> None:
    rows = _opinions(200)
    columns = {"text": [row["words"] for row in rows], "label": [row["opinion"] for row in rows]}
    assert found(validated(columns)) == "nothing"

"""What gives the label away is found and named, and data that has to be learnt raises no alarm."""

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
    """Columns whose texts say nothing of their labels; further ones are made of row, label and a generator."""
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
    warned = [each for each in report.warnings if each.startswith("label leakage: ")]
    assert len(warned) == (not check.passed)
    assert check.passed == (check.observed == "nothing")
    return check.observed


NOTHING = {
    "a number": lambda row, label, draw: f"{draw.normal():.3f}",
    "a number of each row": lambda row, label, draw: str(row),
    "a name of each row": lambda row, label, draw: f"document-{draw.integers(1 << 40)}",
    "a value that hints": lambda row, label, draw: label if draw.random() < 0.9 else "good",
    "nothing at all": lambda row, label, draw: None,
}
LEAKS = {
    "a code of the label": (lambda row, label, draw: f"k{hash_of(label)}", "bad by column more (AUC 1.000)"),
    "the label in a name": (
        lambda row, label, draw: f"{label.split()[0]}/{row}.txt",
        "bad by the word 'bad' in column more (AUC 1.000)",
    ),
    "a score": (lambda row, label, draw: str((label == "bad") + draw.random() / 2), "bad by column more (AUC 1.000)"),
    "what is missing": (lambda row, label, draw: None if label == "bad" else "x", "bad by column more (AUC 1.000)"),
}


def hash_of(label: str) -> int:
    """Codes in no order, so that a rank does not find them."""
    return {"good": 3, "bad": 7, "odd one": 5}[label]


@pytest.mark.parametrize("make", NOTHING.values(), ids=NOTHING)
def test_a_column_that_does_not_give_the_label_away_raises_no_alarm(validated: Validate, make: Any) -> None:
    assert found(validated(texts(more=make))) == "nothing"


@pytest.mark.parametrize(("make", "said"), LEAKS.values(), ids=LEAKS)
def test_a_column_that_gives_a_class_away_is_named(validated: Validate, make: Any, said: str) -> None:
    report = validated(texts(more=make))
    assert said in found(report)
    assert json.loads((report.folder / "report.json").read_text())["warnings"] == list(report.warnings)


def test_a_word_that_stands_in_the_texts_of_one_class_alone_is_named(validated: Validate) -> None:
    columns = texts()
    columns["text"] = [
        f"{text} __label__{label.split()[0]}" for text, label in zip(columns["text"], columns["label"], strict=True)
    ]
    assert "good by the word '__label__good' in the text (AUC 1.000)" in found(validated(columns))


def test_images_whose_size_gives_their_class_away_are_named(validated: Validate, png: Callable[..., bytes]) -> None:
    labels = ["cat", "dog"] * 20
    images = [png(row, (6, 8) if label == "cat" else (8, 8)) for row, label in enumerate(labels)]
    assert "cat by images' width (AUC 1.000)" in found(validated({"image": images, "label": labels}))


def test_a_config_can_refuse_what_leaks_or_allow_it(validated: Validate, tmp_path: Path) -> None:
    columns = texts(more=lambda row, label, draw: label)
    with pytest.raises(Refused, match="label leakage: observed bad by column more ") as refused:
        validated(columns, label_leakage="refuse")
    assert "checks.max_single_auc" in refused.value.hint
    (tmp_path / "data" / "own").rename(tmp_path / "refused")
    assert found(validated(columns, label_leakage="refuse", max_single_auc=1.0)) == "nothing"


def test_with_a_handful_of_rows_of_a_class_nothing_is_said_of_it(validated: Validate) -> None:
    columns = texts(24, more=lambda row, label, draw: label)
    assert found(validated(columns)) == "nothing"


def test_areas_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    codes = draw.integers(0, 3, 300)
    sides = _Sides(codes, np.bincount(codes))
    numbers = np.round(codes + draw.normal(size=300), 1)  # with ties
    areas = [roc_auc_score(codes == each, numbers) for each in range(3)]
    np.testing.assert_allclose(_of_numbers(numbers, sides), [max(area, 1 - area) for area in areas])
    texts = ["a word" if draw.random() < (0.9, 0.2, 0.4)[code] else "another" for code in codes]
    ((word, stands), *_) = _of_words(texts, sides, 0.51)
    has = [word in text.split() for text in texts]
    areas = [roc_auc_score(codes == each, has) for each in range(3)]
    np.testing.assert_allclose(stands, [max(area, 1 - area) for area in areas])


def test_values_that_say_nothing_have_areas_about_a_half() -> None:
    draw = np.random.default_rng(2)
    codes, half = draw.integers(0, 2, 2000), draw.integers(0, 2, 2000)
    sides = _Sides(codes, np.bincount(codes))
    for values in (np.arange(2000), draw.integers(0, 5, 2000), draw.integers(0, 900, 2000)):
        assert np.abs(_of_values(values, half, sides) - 0.5).max() < 0.06


@pytest.mark.parametrize("source", [Digits(kind="digits"), Tweets(kind="tweets")], ids=["digits", "tweets"])
def test_real_sets_raise_no_alarm(validated: Validate, source: Any, tmp_path: Path) -> None:
    read = source.read(tmp_path).columns
    some = np.random.default_rng(0).permutation(len(read["label"]))[:8000]
    columns = {
        name: (values if name == "image" else values.cast(pa.string())).take(some).to_pylist()
        for name, values in read.items()
    }
    assert found(validated(columns, max_bad_share=0.2)) == "nothing"


def test_opinions_in_different_words_raise_no_alarm(validated: Validate) -> None:
    rows = _opinions(200)
    columns = {"text": [row["words"] for row in rows], "label": [row["opinion"] for row in rows]}
    assert found(validated(columns)) == "nothing"

"""Bad rows, classes, official splits and configured expectations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from validation.validations import Texts, Validate

from modelworks.data import dataset_format
from modelworks.data.sources import Tweets
from modelworks.data.splits import SplitConfig
from modelworks.errors import BadInput, Refused
from modelworks.pipeline.stage_store import StageStore
from modelworks.records import DatasetVersion
from modelworks.validation.config import ChecksConfig
from modelworks.validation.validate import validate

Png = Callable[..., bytes]


def test_error_names_a_few_bad_rows_by_path_and_counts_the_rest(validated: Validate, png: Png) -> None:
    images = [png(seed) for seed in range(40)]
    images[:8] = [image[: len(image) // 2] for image in images[:8]]
    paths = [f"class/{row}.png" for row in range(40)]
    with pytest.raises(Refused) as refused:
        validated({"image": images, "label": ["a", "b"] * 20, "path": paths})
    message = refused.value.message
    assert message.count("does not decode: ") == 5
    assert "    class/0.png: does not decode: " in message
    assert "    and 3 more" in message


def test_images_that_do_not_decode_are_quarantined_within_the_limit(validated: Validate, png: Png) -> None:
    images = [png(seed) for seed in range(40)]
    images[3] = b"not an image"
    expect = ({"expect_column_values_to_be_between": {"column": "width", "min_value": 6, "max_value": 6}},)
    report = validated({"image": images, "label": ["a", "b"] * 20}, max_bad_share=0.1, expect=expect)
    (bad,) = json.loads((report.folder / "quarantine.json").read_text())
    assert (bad["row"], bad["reasons"]) == (3, ["does not decode: not an image file"])
    assert report.checks[-1].observed == "all 39 rows pass"


def test_class_without_usable_rows_is_refused(validated: Validate, texts: Texts) -> None:
    columns = texts()
    columns["text"] += ["", "  "]
    columns["label"] += ["ugly", "ugly"]
    with pytest.raises(Refused, match=r"classes with usable rows: observed 2 of 3, none of 1 \(ugly\), required all 3"):
        validated(columns, max_bad_share=0.5)


def official(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    rows = len(columns["text"])
    return {**columns, "split": ["test" if row >= rows - 10 else "train" for row in range(rows)]}


def test_official_split_is_used_and_reported(validated: Validate, texts: Texts) -> None:
    report = validated(official(texts()))
    assert report.rows["test"] == 10
    assert "the source's own split is used; split.test does not apply" in report.warnings


def test_same_content_in_train_and_test_is_refused_regardless_of_the_limit(validated: Validate, texts: Texts) -> None:
    columns = official(texts())
    columns["text"][38] = columns["text"][0]
    with pytest.raises(Refused, match=r"contents in several splits: observed 1, e\.g\. that of row 0, required none"):
        validated(columns, max_bad_share=0.9)


def test_class_missing_from_an_official_split_is_named(validated: Validate, texts: Texts) -> None:
    columns = official(texts())
    columns["label"] = [
        "new" if split == "test" else label for label, split in zip(columns["label"], columns["split"], strict=True)
    ]
    with pytest.raises(Refused, match=r"observed train lacks 1 \(new\); test lacks 2 \(bad, good\), required none"):
        validated(columns)


@pytest.mark.parametrize(
    ("expectation", "code", "message"),
    [
        (
            {"expect_column_mean_to_be_betwen": {"column": "tokens", "min_value": 1}},
            "checks.unknown",
            "there is no expectation 'expect_column_mean_to_be_betwen'; did you mean expect_column_mean_to_be_between?",
        ),
        (
            {"expect_column_values_to_be_between": {"column": "token", "min_value": 1}},
            "checks.unknown",
            "there is no fact 'token'; did you mean tokens?",
        ),
        (
            {"expect_column_values_to_be_between": {"column": "tokens", "min": 1}},
            "checks.arguments",
            "there is no argument 'min'; did you mean min_value?",
        ),
        ({"expect_column_values_to_be_in_set": {"column": "label"}}, "checks.arguments", "value_set: field required"),
        (
            {"expect_column_values_to_be_between": {"column": "tokens", "min_value": "many"}},
            "checks.arguments",
            "min_value: value is not a valid float",
        ),
        (
            {"expect_column_stdev_to_be_between": {"column": "label", "min_value": 1}},
            "checks.not-computable",
            "expect_column_stdev_to_be_between label cannot be computed: ",
        ),
    ],
)
def test_wrong_expectation_is_rejected(
    validated: Validate, texts: Texts, expectation: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(BadInput) as bad:
        validated(texts(), expect=(expectation,))
    assert bad.value.code == code
    assert message in bad.value.message
    assert bad.value.message.startswith("checks.expect: ")


def test_expectation_below_critical_only_warns(validated: Validate, texts: Texts) -> None:
    arguments = {"column": "tokens", "min_value": 100, "severity": "warning"}
    report = validated(texts(), expect=({"expect_column_mean_to_be_between": arguments},))
    warning = "expect_column_mean_to_be_between tokens: observed 7, required min_value 100"
    assert warning in report.warnings
    assert not report.checks[-1].passed


def test_missing_validation_rows_cause_a_warning(validated: Validate, texts: Texts) -> None:
    report = validated(texts(), SplitConfig(validation=0, test=0.4))
    assert "there are no validation rows: nothing is monitored during training" in report.warnings


def test_bad_rows_of_the_tweets_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "tweets"
    folder.mkdir(parents=True)
    dataset_format.write(folder, "tweets", {"kind": "tweets"}, Tweets(kind="tweets").read(tmp_path))
    described = dataset_format.describe(folder)
    dataset = DatasetVersion(
        name="tweets",
        folder=folder,
        digest="0" * 32 + ".dir",
        features=dataset_format.features(described),
        rows=described["rows"],
        source={},
        licence=described["licence"],
    )
    store = StageStore(tmp_path / "stages")
    with store.write("validate", "key", {}) as temporary:
        report = validate(
            dataset,
            "classification",
            SplitConfig(),
            ChecksConfig(max_bad_share=0.03),
            key="key",
            folder=store.folder("validate", "key"),
            temporary=temporary,
        )
    assert dataset.targets["label"]["classes"] == ["negative", "neutral", "positive"]
    assert report.quarantined == 961
    warnings = "\n".join(report.warnings)
    assert "repeated texts: 915 rows" in warnings
    assert "contradicting labels: 605 rows of 46 texts" in warnings
    assert re.search(r"^texts decoded with the wrong encoding \(mojibake\): \d{4}, ", warnings, re.MULTILINE)

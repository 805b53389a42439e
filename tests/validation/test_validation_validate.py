from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelworks.data import dataset_format
from modelworks.data.sources import Tweets
from modelworks.data.splits import QUARANTINED, SplitConfig, assign_splits
from modelworks.errors import BadInput, Refused
from modelworks.files.manifests import read_manifest
from modelworks.pipeline.stage_store import StageStore
from modelworks.records import DatasetVersion, ValidationReport
from modelworks.validation.config import ChecksConfig
from modelworks.validation.data_docs import write_data_docs
from modelworks.validation.validate import validate

Validate = Callable[..., ValidationReport]
Texts = Callable[..., dict[str, list[Any]]]
Png = Callable[..., bytes]

MANDATORY = {
    "bad rows",
    "usable rows",
    "rows with a label",
    "rows with texts",
    "texts that decode",
    "classes",
    "classes with usable rows",
    "rows of the smallest class",
    "contents in several splits",
    "classes missing from train or test",
    "label leakage",
}


def test_good_data_passes_every_check_and_is_stored(validated: Validate, texts: Texts) -> None:
    report = validated(texts())
    assert {check.name for check in report.checks} == MANDATORY
    assert all(check.passed for check in report.checks)
    assert (report.quarantined, sum(report.rows.values())) == (0, 40)
    assert read_manifest(report.folder) is not None
    written = json.loads((report.folder / "report.json").read_text())
    assert written["rows"] == report.rows
    assert written["great_expectations"]["success"] is True


def test_stored_splits_are_those_of_assign_splits(validated: Validate, texts: Texts) -> None:
    report = validated(texts())
    splits = np.load(report.folder / "splits.npy")
    ids = dataset_format.read(report.dataset.folder, ["id"])["id"].to_pylist()
    assert splits.dtype == np.int8
    assert splits.tolist() == assign_splits(ids, None, SplitConfig(test=0.4)).tolist()


def test_data_docs_are_one_page_without_external_resources(validated: Validate, texts: Texts, tmp_path: Path) -> None:
    expect = ({"expect_column_mean_to_be_between": {"column": "tokens", "min_value": 1}},)
    report = validated(texts(), expect=expect)
    folder = tmp_path / "data_docs"
    folder.mkdir()
    write_data_docs(folder, report)
    (page,) = folder.iterdir()
    html = page.read_text()
    assert "<title>Checks on the data of own</title>" in html
    assert "<td>usable rows</td>" in html
    assert "expect_column_mean_to_be_between {&#34;column&#34;: &#34;tokens&#34;, &#34;min_value&#34;: 1" in html
    assert not re.findall(r"<(?:script|link|img)\b|https?://", html)


def test_bad_rows_within_the_limit_are_quarantined_with_their_reasons(validated: Validate, texts: Texts) -> None:
    columns = texts()
    columns["text"] += [columns["text"][0], columns["text"][1], "", None, "nobody knows"]
    columns["label"] += ["good", "good", "bad", "bad", None]
    report = validated(columns, max_bad_share=0.2)
    listed = json.loads((report.folder / "quarantine.json").read_text())
    assert {each["row"]: each["reasons"] for each in listed} == {
        1: ["contradicts row 41 (label bad / good)"],
        40: ["duplicate of row 0"],
        41: ["contradicts row 1 (label good / bad)"],
        42: ["blank"],
        43: ["blank", "duplicate of row 42"],
        44: ["null label"],
    }
    splits = np.load(report.folder / "splits.npy")
    assert np.flatnonzero(splits == QUARANTINED).tolist() == [1, 40, 41, 42, 43, 44]
    assert (report.quarantined, sum(report.rows.values())) == (6, 39)
    assert any(each.startswith("6 of 45 rows (13.333%) are left out") for each in report.warnings)
    assert "repeated texts: 3 rows, e.g. row 40" in report.warnings
    conflict = "contradicting labels: 2 rows of 1 texts, e.g. row 1 is bad and row 41 is good; none is used"
    assert conflict in report.warnings


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"text": ["the same"] * 40, "label": ["good"] * 40}, "bad rows: observed 39 of 40"),
        ({"text": ["the same"] * 40}, "bad rows: observed 40 of 40 (100.000%), required at most 0.000%"),
        ({"text": [None, *map(str, range(39))]}, "bad rows: observed 1 of 40 (2.500%)"),
        ({"label": ["good"] * 40}, "classes: observed 1 (good), required at least 2"),
        ({"label": ["rare", *["good", "bad"] * 19, "good"]}, "classes missing from train or test: observed t"),
        ({"label": [None, *["good", "bad"] * 19, "good"]}, "    row 0: null label"),
        ({"label": [None] * 40}, "bad rows: observed 40 of 40"),
    ],
)
def test_mandatory_checks_refuse_bad_data(
    validated: Validate, texts: Texts, tmp_path: Path, change: dict[str, list[str | None]], found: str
) -> None:
    with pytest.raises(Refused) as refused:
        validated(texts() | change)
    assert refused.value.code == "checks.failed"
    assert found in refused.value.message
    assert refused.value.hint
    assert not [*(tmp_path / "stages" / "validate").iterdir()]


def test_error_lists_every_failed_check_once(validated: Validate, texts: Texts) -> None:
    columns = texts()
    columns["text"][2] = columns["text"][0]
    expect = ({"expect_column_values_to_be_between": {"column": "tokens", "min_value": 100}},)
    with pytest.raises(Refused) as refused:
        validated(columns, min_rows=100, min_per_class=20, expect=expect)
    assert refused.value.message.splitlines() == [
        "the data of own fails 4 of 12 checks",
        "  bad rows: observed 1 of 40 (2.500%), required at most 0.000%",
        "    row 2: duplicate of row 0",
        "  usable rows: observed 39, required at least 100",
        "  rows of the smallest class: observed 19 (good), required at least 20",
        (
            "  expect_column_values_to_be_between tokens: observed 39 of 39 rows fail, "
            "e.g. row 0: 7; row 1: 7; row 3: 7, required min_value 100"
        ),
    ]
    assert "checks.max_bad_share: 0.025" in refused.value.hint


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

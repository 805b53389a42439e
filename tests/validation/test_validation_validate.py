"""The validate stage: its stored output, its mandatory checks and its errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from validation.validations import Texts, Validate

from modelworks.data import dataset_format
from modelworks.data.splits import QUARANTINED, SplitConfig, assign_splits
from modelworks.errors import Refused
from modelworks.files.manifests import read_manifest
from modelworks.validation.data_docs import write_data_docs

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

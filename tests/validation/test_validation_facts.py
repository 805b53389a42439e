from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from modelworks.data.splits import TEST, TRAIN, VALIDATION
from modelworks.objectives.classification_checks import target_facts
from modelworks.validation.facts import row_facts
from modelworks.validation.quarantine import BadRow, bad_rows


def facts_of(ids: str, labels: list[str | None], splits: list[int] | None = None) -> pd.DataFrame:
    table = pa.table({"id": list(ids), "label": pa.array(labels, pa.string())})
    return row_facts(table, np.array(splits or [TRAIN] * len(ids), dtype=np.int8), ["label"])


def reasons_of(facts: pd.DataFrame) -> dict[int, tuple[str, ...]]:
    examples = pa.table({"id": facts["id"].tolist()})
    return {bad.row: bad.reasons for bad in bad_rows(facts.assign(fault=None), examples, ["label"])}


def test_duplicates_refer_to_the_first_row_with_the_same_content_and_label() -> None:
    facts = facts_of("abaa", ["x", "x", "x", "x"])
    assert facts["duplicate_of"].tolist() == [pd.NA, pd.NA, 0, 0]
    assert reasons_of(facts) == {2: ("duplicate of row 0",), 3: ("duplicate of row 0",)}


def test_all_rows_of_a_content_with_several_labels_are_bad() -> None:
    facts = facts_of("abaca", ["x", "x", "y", "y", "z"])
    assert facts["conflicting"].tolist() == [True, False, True, False, True]
    assert reasons_of(facts) == {
        0: ("contradicts row 2 (label x / y)",),
        2: ("contradicts row 0 (label y / x)",),
        4: ("contradicts row 0 (label z / x)",),
    }


def test_row_can_be_bad_for_several_reasons() -> None:
    facts = facts_of("aaa", ["x", "x", "y"]).assign(fault=["blank", "blank", None])
    bad = bad_rows(facts, pa.table({"id": list("aaa"), "path": ["p", "q", None]}), ["label"])
    assert bad[1] == BadRow(
        row=1,
        id="a",
        path="q",
        label="x",
        reasons=("blank", "duplicate of row 0", "contradicts row 2 (label x / y)"),
    )
    assert str(bad[0]) == "p: blank; contradicts row 2 (label x / y)"
    assert str(bad[2]) == "row 2: contradicts row 0 (label y / x)"


def test_row_without_a_label_contradicts_nothing() -> None:
    facts = facts_of("aab", ["x", None, None])
    assert facts["conflicting"].tolist() == [False, False, False]
    assert reasons_of(facts) == {1: ("null label",), 2: ("null label",)}


def test_same_content_in_several_splits_leaks() -> None:
    facts = facts_of("aabbc", ["x"] * 5, [TRAIN, TEST, TRAIN, TRAIN, VALIDATION])
    assert facts["leaks"].tolist() == [True, True, False, False, False]


def test_missing_splits_are_counted_per_class() -> None:
    facts = facts_of("abcdef", ["x", "x", "y", "y", "z", "v"], [TRAIN, TEST, TRAIN, TRAIN, TEST, VALIDATION])
    found = target_facts(facts)
    assert found["class_size"].tolist() == [2, 2, 2, 2, 1, 1]
    assert found["missing_splits"].tolist() == [0, 0, 1, 1, 1, 2]


def test_split_without_rows_lacks_every_class() -> None:
    assert target_facts(facts_of("ab", ["x", "y"]))["missing_splits"].tolist() == [1, 1]


def test_each_of_several_targets_can_be_contradicted_or_missing() -> None:
    table = pa.table(
        {
            "id": list("aabbcd"),
            "number": [1.5, 2.5, 3.0, 3.0, None, 7.0],
            "labels": [["x"], ["x"], ["x", "y"], ["x", "y"], [], ["z"]],
        }
    )
    facts = row_facts(table, np.zeros(6, dtype=np.int8), ["number", "labels"])
    assert facts["labels"].tolist() == ["x", "x", "x, y", "x, y", "", "z"]
    bad = bad_rows(facts.assign(fault=None), table, ["number", "labels"])
    assert {each.row: (each.label, each.reasons) for each in bad} == {
        0: ("1.5", ("contradicts row 1 (number 1.5 / 2.5)",)),
        1: ("2.5", ("contradicts row 0 (number 2.5 / 1.5)",)),
        3: ("3", ("duplicate of row 2",)),
        4: (None, ("null number",)),
    }

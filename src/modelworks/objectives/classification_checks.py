"""Data checks of labels: several classes, enough rows in each, and no leaking feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .data_checks import DataCheck

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEAKAGE", "checks", "remarks", "target_facts"]

LEAKAGE = "label"
SIDES = ("train", "test")
"""Splits in which every class must occur."""


def target_facts(usable: pd.DataFrame) -> pd.DataFrame:
    """Return each row's `class_size` and `missing_splits`.

    `missing_splits` is the number of splits, of train and test, without rows of the class.
    """
    import pandas as pd

    counts = pd.crosstab(usable["label"], usable["split"])
    needed = counts.reindex(columns=list(SIDES), fill_value=0)
    return pd.DataFrame(
        {
            "class_size": usable["label"].map(counts.sum(axis=1)),
            "missing_splits": usable["label"].map((needed == 0).sum(axis=1)),
        },
        index=usable.index,
    ).astype("int64")


def checks(targets: Mapping[str, Mapping[str, Any]], section: Any) -> Sequence[DataCheck]:
    """Require several classes, all in train and test with enough rows, and no leaking feature."""
    classes = targets["label"]["classes"]
    return (
        DataCheck(
            name="classes",
            expectation="expect_column_unique_value_count_to_be_between",
            arguments={"column": "label", "min_value": 2},
            required="at least 2",
            observe=lambda facts: _listed(sorted(facts["label"].unique())),
            hint="add rows of another class: a classifier needs at least two",
        ),
        DataCheck(
            name="classes with usable rows",
            expectation="expect_column_distinct_values_to_equal_set",
            arguments={"column": "label", "value_set": list(classes)},
            required=f"all {len(classes)}",
            observe=lambda facts: _used(classes, {*facts["label"]}),
            hint="correct the rows of these classes: none is usable",
        ),
        DataCheck(
            name="rows of the smallest class",
            expectation="expect_column_values_to_be_between",
            arguments={"column": "class_size", "min_value": section.min_per_class},
            required=f"at least {section.min_per_class}",
            observe=_smallest_class,
            hint="add rows of that class, or lower checks.min_per_class",
        ),
        DataCheck(
            name="classes missing from train or test",
            expectation="expect_column_values_to_be_in_set",
            arguments={"column": "missing_splits", "value_set": [0]},
            required="none",
            observe=_missing_classes,
            hint="add rows of these classes; if the source has no split of its own, a larger split.test helps too",
        ),
        DataCheck(
            name="label leakage",
            expectation="expect_column_values_to_be_null",
            arguments={
                "column": "leaking_feature",
                "severity": "critical" if section.label_leakage == "refuse" else "warning",
            },
            required=f"no single feature that predicts a class with an AUC above {section.max_single_auc:g}",
            observe=_leaking_features,
            hint="remove the leaking feature from the data, or raise checks.max_single_auc if it is no leak",
        ),
    )


def remarks(usable: pd.DataFrame) -> Iterator[str]:
    """Report the classes that are missing from the validation rows."""
    validation = usable.loc[usable["split"] == "validation", "label"]
    missing = sorted({*usable["label"]} - {*validation})
    if len(validation) and missing:
        yield f"the {len(validation)} validation rows lack {len(missing)} classes, e.g. {missing[0]}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{len(names)} ({shown})" if names else "0"


def _used(classes: Sequence[str], used: set[str]) -> str:
    unused = [name for name in classes if name not in used]
    return f"{len(used)} of {len(classes)}" + (f", none of {_listed(unused)}" if unused else "")


def _smallest_class(facts: pd.DataFrame) -> str:
    size = facts["class_size"].min()
    return f"{size} ({facts.loc[facts['class_size'] == size, 'label'].iloc[0]})"


def _leaking_features(facts: pd.DataFrame) -> str:
    found = facts.dropna(subset="leaking_feature").drop_duplicates("label").sort_values("label")
    named = [f"{label} by {what}" for label, what in zip(found["label"], found["leaking_feature"], strict=True)]
    return "; ".join(named[:3] + ([f"{len(named) - 3} more classes"] if len(named) > 3 else [])) or "nothing"


def _missing_classes(facts: pd.DataFrame) -> str:
    sides = {split: sorted({*facts["label"]} - {*facts.loc[facts["split"] == split, "label"]}) for split in SIDES}
    return "; ".join(f"{split} lacks {_listed(names)}" for split, names in sides.items() if names) or "0"

"""What is asked of a data set: what every one must satisfy, and what its config adds.

No config can drop the mandatory questions: Great Expectations by itself is content with an empty table or a single
class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks.data.splits import SPLIT_NAMES, TEST, TRAIN
from modelworks.errors import BadInput
from modelworks.records import DatasetVersion
from modelworks.validation.config import ChecksConfig
from modelworks.validation.expectation_names import nearest, unknown_expectations

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DataCheck", "configured", "mandatory"]


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """One expectation, and how to say to a person what it demands and what was found."""

    name: str
    expectation: str
    """GX's name for it, in snake case."""
    arguments: Mapping[str, Any]
    demanded: str
    found: Callable[[pd.DataFrame], str] | None = None
    """Says what the facts hold; GX's own result is said when there is none."""
    way_out: str = "mend the data, or change checks in the config"


def mandatory(dataset: DatasetVersion, checks: ChecksConfig) -> tuple[DataCheck, ...]:
    """What every data set must satisfy."""
    size = "bytes" if dataset.modality == "image" else "characters"
    return (
        DataCheck(
            name="usable rows",
            expectation="expect_table_row_count_to_be_between",
            arguments={"min_value": checks.min_rows},
            demanded=f"at least {checks.min_rows}",
            found=lambda facts: str(len(facts)),
            way_out="add rows, or lower checks.min_rows",
        ),
        DataCheck(
            name="rows with a label",
            expectation="expect_column_values_to_not_be_null",
            arguments={"column": "label"},
            demanded="all",
            found=lambda facts: _share(facts["label"].notna()),
        ),
        DataCheck(
            name=f"rows with {dataset.modality}s",
            expectation="expect_column_values_to_not_be_null",
            arguments={"column": size},
            demanded="all",
            found=lambda facts: _share(facts[size].notna()),
        ),
        DataCheck(
            name=f"{dataset.modality}s that decode",
            expectation="expect_column_values_to_be_in_set",
            arguments={"column": "decodes", "value_set": [True]},
            demanded="all",
            found=lambda facts: _share(facts["decodes"]),
        ),
        DataCheck(
            name="classes",
            expectation="expect_column_unique_value_count_to_be_between",
            arguments={"column": "label", "min_value": 2},
            demanded="at least 2",
            found=lambda facts: _listed(sorted(facts["label"].unique())),
            way_out="add rows of another class: there is nothing to tell apart",
        ),
        DataCheck(
            name="classes with usable rows",
            expectation="expect_column_distinct_values_to_equal_set",
            arguments={"column": "label", "value_set": list(dataset.classes)},
            demanded=f"all {len(dataset.classes)}",
            found=lambda facts: _used(dataset.classes, {*facts["label"]}),
            way_out="mend the rows of these classes: none of them can be used",
        ),
        DataCheck(
            name="rows of the smallest class",
            expectation="expect_column_values_to_be_between",
            arguments={"column": "class_size", "min_value": checks.min_per_class},
            demanded=f"at least {checks.min_per_class}",
            found=_smallest_class,
            way_out="add rows of that class, or lower checks.min_per_class",
        ),
        DataCheck(
            name="contents in several splits",
            expectation="expect_column_values_to_be_in_set",
            arguments={"column": "leaks", "value_set": [False]},
            demanded="none",
            found=_leaks,
            way_out="remove the copies from all but one split of the source, or let it have no official split",
        ),
        DataCheck(
            name="classes missing from train or test",
            expectation="expect_column_values_to_be_in_set",
            arguments={"column": "missing_splits", "value_set": [0]},
            demanded="none",
            found=_missing_classes,
            way_out="add rows of these classes; if the source has no split of its own, a larger split.test helps too",
        ),
        DataCheck(
            name="label leakage",
            expectation="expect_column_values_to_be_null",
            arguments={
                "column": "given_away_by",
                "severity": "critical" if checks.label_leakage == "refuse" else "warning",
            },
            demanded=f"nothing that alone tells a class from the rest with an AUC above {checks.max_single_auc:g}",
            found=_giveaways,
            way_out="take what gives the label away out of the data, or raise checks.max_single_auc if it is no leak",
        ),
    )


def configured(checks: ChecksConfig, facts: Sequence[str]) -> tuple[DataCheck, ...]:
    """What the config's `checks.expect` asks.

    Raises:
        BadInput: an expectation, or a fact that it is about, does not exist; all such mistakes are listed.
    """
    entries = [(name, arguments) for entry in checks.expect for name, arguments in entry.items()]
    problems = [*unknown_expectations(name for name, _ in entries)]
    for name, arguments in entries:
        if name != "expect_column_to_exist":
            unknown = [column for column in _columns(arguments) if column not in facts]
            problems += [f"{name}: there is no fact {column!r}{nearest(column, facts)}" for column in unknown]
    if problems:
        raise BadInput("\n".join(f"checks.expect: {each}" for each in problems), f"the facts are: {', '.join(facts)}")
    return tuple(
        DataCheck(
            name=" ".join([name, *_columns(arguments)]),
            expectation=name,
            arguments=arguments,
            demanded=_demanded(arguments),
        )
        for name, arguments in entries
    )


def _columns(arguments: Mapping[str, Any]) -> list[str]:
    """The facts that an expectation is about."""
    listed = arguments.get("column_list")
    single = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    return [str(name) for name in [*single, *(listed if isinstance(listed, list | tuple) else ())]]


def _demanded(arguments: Mapping[str, Any]) -> str:
    aside = {"column", "column_A", "column_B", "column_list", "meta", "notes", "description", "severity"}
    return ", ".join(f"{name} {value}" for name, value in arguments.items() if name not in aside) or "to hold"


def _share(good: pd.Series[Any]) -> str:
    return f"{int(good.sum())} of {len(good)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{len(names)} ({shown})" if names else "0"


def _used(classes: Sequence[str], used: set[str]) -> str:
    unused = [name for name in classes if name not in used]
    return f"{len(used)} of {len(classes)}" + (f", none of {_listed(unused)}" if unused else "")


def _smallest_class(facts: pd.DataFrame) -> str:
    size = facts["class_size"].min()
    return f"{size} ({facts.loc[facts['class_size'] == size, 'label'].iloc[0]})"


def _leaks(facts: pd.DataFrame) -> str:
    leaks = facts[facts["leaks"]]
    return f"{len(leaks)}, e.g. that of row {leaks['row'].iloc[0]}" if len(leaks) else "0"


def _giveaways(facts: pd.DataFrame) -> str:
    told = facts.dropna(subset="given_away_by").drop_duplicates("label").sort_values("label")
    named = [f"{label} by {what}" for label, what in zip(told["label"], told["given_away_by"], strict=True)]
    return "; ".join(named[:3] + ([f"{len(named) - 3} more classes"] if len(named) > 3 else [])) or "nothing"


def _missing_classes(facts: pd.DataFrame) -> str:
    sides = {
        split: sorted({*facts["label"]} - {*facts.loc[facts["split"] == split, "label"]})
        for split in (SPLIT_NAMES[TRAIN], SPLIT_NAMES[TEST])
    }
    return "; ".join(f"{split} lacks {_listed(names)}" for split, names in sides.items() if names) or "0"

"""The checks of a data set: mandatory ones and those of the config.

A config cannot remove the mandatory checks, because Great Expectations alone accepts an empty table or a single class.
The objective provides the checks of the targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput
from modelworks.modalities.base import facts_module
from modelworks.objectives.data_checks import DataCheck, checks_module
from modelworks.records import DatasetVersion
from modelworks.validation.config import ChecksConfig
from modelworks.validation.expectation_names import nearest, unknown_expectations

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["configured", "mandatory"]


def mandatory(dataset: DatasetVersion, objective: str, checks: ChecksConfig) -> tuple[DataCheck, ...]:
    """Return the checks that every data set must pass; `objective` is the kind of objective."""
    return (
        DataCheck(
            name="usable rows",
            expectation="expect_table_row_count_to_be_between",
            arguments={"min_value": checks.min_rows},
            required=f"at least {checks.min_rows}",
            observe=lambda facts: str(len(facts)),
            hint="add rows, or lower checks.min_rows",
        ),
        *(
            _without_nulls(f"rows with {name if feature['kind'] == 'labels' else f'a {name}'}", name)
            for name, feature in dataset.targets.items()
        ),
        _without_nulls(f"rows with {dataset.modality}s", facts_module(dataset.modality).SIZE),
        DataCheck(
            name=f"{dataset.modality}s that decode",
            expectation="expect_column_values_to_be_in_set",
            arguments={"column": "decodes", "value_set": [True]},
            required="all",
            observe=lambda facts: _share(facts["decodes"]),
        ),
        DataCheck(
            name="contents in several splits",
            expectation="expect_column_values_to_be_in_set",
            arguments={"column": "leaks", "value_set": [False]},
            required="none",
            observe=_leaks,
            hint="remove the copies from all but one split of the source, or remove its split column",
        ),
        *checks_module(objective).checks(dataset.targets, checks),
    )


def _without_nulls(name: str, fact: str) -> DataCheck:
    return DataCheck(
        name=name,
        expectation="expect_column_values_to_not_be_null",
        arguments={"column": fact},
        required="all",
        observe=lambda facts: _share(facts[fact].notna()),
    )


def configured(checks: ChecksConfig, facts: Sequence[str]) -> tuple[DataCheck, ...]:
    """Return the checks of the config's `checks.expect`.

    Raises:
        BadInput: an expectation or fact does not exist; the message lists all such mistakes.
    """
    entries = [(name, arguments) for entry in checks.expect for name, arguments in entry.items()]
    problems = [*unknown_expectations(name for name, _ in entries)]
    for name, arguments in entries:
        if name != "expect_column_to_exist":
            unknown = [column for column in _columns(arguments) if column not in facts]
            problems += [f"{name}: there is no fact {column!r}{nearest(column, facts)}" for column in unknown]
    if problems:
        raise BadInput(
            "\n".join(f"checks.expect: {each}" for each in problems),
            f"use one of the facts: {', '.join(facts)}",
            code="checks.unknown",
        )
    return tuple(
        DataCheck(
            name=" ".join([name, *_columns(arguments)]),
            expectation=name,
            arguments=arguments,
            required=_required(arguments),
        )
        for name, arguments in entries
    )


def _columns(arguments: Mapping[str, Any]) -> list[str]:
    """Return the facts that an expectation reads."""
    listed = arguments.get("column_list")
    single = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    return [str(name) for name in [*single, *(listed if isinstance(listed, list | tuple) else ())]]


def _required(arguments: Mapping[str, Any]) -> str:
    other = {"column", "column_A", "column_B", "column_list", "meta", "notes", "description", "severity"}
    return ", ".join(f"{name} {value}" for name, value in arguments.items() if name not in other) or "to pass"


def _share(good: pd.Series[Any]) -> str:
    return f"{int(good.sum())} of {len(good)}"


def _leaks(facts: pd.DataFrame) -> str:
    leaks = facts[facts["leaks"]]
    return f"{len(leaks)}, e.g. that of row {leaks['row'].iloc[0]}" if len(leaks) else "0"

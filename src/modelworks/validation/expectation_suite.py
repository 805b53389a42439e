"""Run all checks as one Great Expectations suite and convert its results."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput
from modelworks.objectives.data_checks import DataCheck
from modelworks.records import Check
from modelworks.validation.expectation_names import nearest
from modelworks.validation.great_expectations_internals import known_expectations

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations.expectation import Expectation

__all__ = ["CheckResult", "preload", "run_suite"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of one check."""

    check: Check
    required: bool = True
    """False if the config gives the expectation a severity below critical: then a failure is a warning."""


def preload() -> None:
    """Import Great Expectations, which takes seconds, while the caller waits for something else."""
    importlib.import_module("great_expectations")


def run_suite(
    checks: Sequence[DataCheck], facts: pd.DataFrame, name: str
) -> tuple[tuple[CheckResult, ...], dict[str, Any]]:
    """Run all checks on the facts.

    Return the results, and Great Expectations' own result as JSON values.

    Args:
        checks: mandatory and configured checks.
        facts: one row per usable example, at least one.
        name: the data set's name, for the report.

    Raises:
        BadInput: an expectation's arguments are wrong, or it cannot be computed on these facts.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = gx.ExpectationSuite(
        name=f"{name} checks", expectations=[_expectation(check, index) for index, check in enumerate(checks)]
    )
    batch = (
        context.data_sources.add_pandas("facts")
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("usable rows")
        .get_batch({"dataframe": facts})
    )
    # Results name the failing rows by their index in examples.parquet.
    result_format = {"result_format": "SUMMARY", "unexpected_index_column_names": ["row"]}
    outcome = _json_values(batch.validate(suite, result_format=result_format).to_json_dict())
    # GX reorders the results; the index in `meta` identifies the check.
    results = {result["expectation_config"]["meta"]["question"]: result for result in outcome["results"]}
    assert sorted(results) == list(range(len(checks)))
    return tuple(_result(check, results[index], facts) for index, check in enumerate(checks)), outcome


def _expectation(check: DataCheck, index: int) -> Expectation:
    from great_expectations import expectations

    kind: type[Expectation] = getattr(expectations, known_expectations()[check.expectation])
    arguments = dict(check.arguments)
    meta = {**(arguments.pop("meta", None) or {}), "question": index}
    if check.observe is not None:
        arguments["description"] = f"{check.name}: {check.required}"
    try:
        return kind(**arguments, meta=meta)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"checks.expect: {check.expectation}: {_mistakes(error, kind)}",
            f"use its arguments: {', '.join(sorted(_arguments(kind)))}",
            code="checks.arguments",
        ) from error


def _mistakes(error: Exception, kind: type[Expectation]) -> str:
    """Return pydantic's message for each wrong argument; the first message of a union."""
    listed = getattr(error, "errors", None)
    if listed is None:
        return str(error)
    phrases: dict[str, str] = {}
    for each in listed():
        name = str(each["loc"][0])
        if each["type"] == "value_error.extra":
            phrases[name] = f"there is no argument {name!r}{nearest(name, _arguments(kind))}"
        else:
            phrases.setdefault(name, f"{name}: {each['msg']}")
    root = phrases.pop("__root__", "").removeprefix("__root__: ")  # redundant if there are others
    return "; ".join(phrases.values()) or root


def _arguments(kind: type[Expectation]) -> set[str]:
    internal = {"id", "batch_id", "rendered_content", "catch_exceptions", "result_format", "windows"}
    return {*inspect.signature(kind).parameters} - internal


def _result(check: DataCheck, result: Mapping[str, Any], facts: pd.DataFrame) -> CheckResult:
    cause = _exception(result["exception_info"])
    if cause is not None:
        raise BadInput(
            f"checks.expect: {check.name} cannot be computed: {cause}",
            "use the facts: " + ", ".join(f"{name} ({kind})" for name, kind in facts.dtypes.items()),
            code="checks.not-computable",
        )
    return CheckResult(
        check=Check(
            name=check.name,
            passed=result["success"],
            observed=check.observe(facts) if check.observe else _observed(result["result"]),
            required=check.required,
            hint=check.hint,
        ),
        required=check.arguments.get("severity", "critical") == "critical",
    )


def _json_values(value: dict[str, Any]) -> dict[str, Any]:
    """Convert NumPy floats, which GX's renderers cannot handle, to Python's; NaN to a string."""
    plain: dict[str, Any] = json.loads(json.dumps(value), parse_constant=str)
    return plain


def _exception(information: Mapping[str, Any]) -> str | None:
    """Return the first line of an exception inside GX; None for none."""
    for each in (information, *(value for value in information.values() if isinstance(value, Mapping))):
        if each.get("raised_exception"):
            return str(each.get("exception_message")).strip().splitlines()[0]
    return None


def _observed(result: Mapping[str, Any]) -> str:
    """Return GX's result as text: the failing rows, or the observed value."""
    if "unexpected_count" not in result:
        observed = result.get("observed_value", "not met")
        return f"{observed:.6g}" if isinstance(observed, float) else str(observed)
    if not result["unexpected_count"]:
        return f"all {result['element_count']} rows pass"
    examples = [
        f"row {place['row']}: {', '.join(str(value) for name, value in place.items() if name != 'row')}"
        for place in (result.get("partial_unexpected_index_list") or [])[:3]
    ]
    shown = f", e.g. {'; '.join(examples)}" if examples else ""
    return f"{result['unexpected_count']} of {result['element_count']} rows fail{shown}"

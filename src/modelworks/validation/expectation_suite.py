"""The questions become one Great Expectations suite, asked once, and its results become answers in words."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput
from modelworks.objectives.base import DataCheck
from modelworks.records import Check
from modelworks.validation.expectation_names import nearest
from modelworks.validation.great_expectations_internals import known_expectations

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations.expectation import Expectation

__all__ = ["CheckResult", "ask", "preload"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What came out of one question."""

    check: Check
    required: bool = True
    """False where the config gave the expectation a severity below critical: then it only warns."""


def preload() -> None:
    """Import Great Expectations, which takes seconds, for a caller who would only wait meanwhile."""
    importlib.import_module("great_expectations")


def ask(
    questions: Sequence[DataCheck], facts: pd.DataFrame, name: str
) -> tuple[tuple[CheckResult, ...], dict[str, Any]]:
    """Put all questions to the facts at once; the answers, and GX's own result as JSON values.

    Args:
        questions: mandatory and configured ones.
        facts: one row per usable example, at least one.
        name: of the data set, for GX's report.

    Raises:
        BadInput: an expectation's arguments are wrong, or it cannot be computed on these facts.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = gx.ExpectationSuite(
        name=f"{name} checks", expectations=[_expectation(question, index) for index, question in enumerate(questions)]
    )
    batch = (
        context.data_sources.add_pandas("facts")
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("usable rows")
        .get_batch({"dataframe": facts})
    )
    # Some results name rows: those that fail, by their place in examples.parquet.
    result_format = {"result_format": "SUMMARY", "unexpected_index_column_names": ["row"]}
    outcome = _json_values(batch.validate(suite, result_format=result_format).to_json_dict())
    # GX puts results in an order of its own; our mark in the meta leads back to the question.
    results = {result["expectation_config"]["meta"]["question"]: result for result in outcome["results"]}
    assert sorted(results) == list(range(len(questions)))
    return tuple(_answer(question, results[index], facts) for index, question in enumerate(questions)), outcome


def _expectation(question: DataCheck, index: int) -> Expectation:
    from great_expectations import expectations

    kind: type[Expectation] = getattr(expectations, known_expectations()[question.expectation])
    arguments = dict(question.arguments)
    meta = {**(arguments.pop("meta", None) or {}), "question": index}
    if question.observe is not None:
        arguments["description"] = f"{question.name}: {question.required}"
    try:
        return kind(**arguments, meta=meta)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"checks.expect: {question.expectation}: {_mistakes(error, kind)}",
            f"its arguments are: {', '.join(sorted(_arguments(kind)))}",
        ) from error


def _mistakes(error: Exception, kind: type[Expectation]) -> str:
    """What pydantic says of wrong arguments, one phrase each; of a union's many complaints the first."""
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
    whole = phrases.pop("__root__", "").removeprefix("__root__: ")  # says nothing new beside the others
    return "; ".join(phrases.values()) or whole


def _arguments(kind: type[Expectation]) -> set[str]:
    internal = {"id", "batch_id", "rendered_content", "catch_exceptions", "result_format", "windows"}
    return {*inspect.signature(kind).parameters} - internal


def _answer(question: DataCheck, result: Mapping[str, Any], facts: pd.DataFrame) -> CheckResult:
    cause = _exception(result["exception_info"])
    if cause is not None:
        raise BadInput(
            f"checks.expect: {question.name} cannot be computed: {cause}",
            "the table of facts has: " + ", ".join(f"{name} ({kind})" for name, kind in facts.dtypes.items()),
        )
    return CheckResult(
        check=Check(
            name=question.name,
            passed=result["success"],
            observed=question.observe(facts) if question.observe else _observed(result["result"]),
            required=question.required,
            hint=question.hint,
        ),
        required=question.arguments.get("severity", "critical") == "critical",
    )


def _json_values(value: dict[str, Any]) -> dict[str, Any]:
    """The same without NumPy's floats, which GX lets pass and its own renderers then choke on; NaN as a string."""
    plain: dict[str, Any] = json.loads(json.dumps(value), parse_constant=str)
    return plain


def _exception(information: Mapping[str, Any]) -> str | None:
    """The first line of what was raised inside GX: for the expectation as a whole, or for one of its metrics."""
    for each in (information, *(value for value in information.values() if isinstance(value, Mapping))):
        if each.get("raised_exception"):
            return str(each.get("exception_message")).strip().splitlines()[0]
    return None


def _observed(result: Mapping[str, Any]) -> str:
    """GX's result in words: how many rows are otherwise and the first of them, or the value observed."""
    if "unexpected_count" not in result:
        observed = result.get("observed_value", "otherwise")
        return f"{observed:.6g}" if isinstance(observed, float) else str(observed)
    if not result["unexpected_count"]:
        return f"all {result['element_count']} rows so"
    examples = [
        f"row {place['row']}: {', '.join(str(value) for name, value in place.items() if name != 'row')}"
        for place in (result.get("partial_unexpected_index_list") or [])[:3]
    ]
    named = f", e.g. {'; '.join(examples)}" if examples else ""
    return f"{result['unexpected_count']} of {result['element_count']} rows otherwise{named}"

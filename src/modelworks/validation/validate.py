"""Validate: examples become facts, bad rows are set aside, and one suite of checks judges the rest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from modelworks.data import dataset_format
from modelworks.data.splits import QUARANTINED, SPLIT_NAMES, SplitConfig, assign_splits
from modelworks.errors import Refused
from modelworks.files.atomic_files import write_json
from modelworks.objectives.base import checks_module
from modelworks.records import Check, DatasetVersion, ValidationReport
from modelworks.validation.checks import configured, mandatory
from modelworks.validation.config import ChecksConfig
from modelworks.validation.data_warnings import remarks
from modelworks.validation.expectation_suite import CheckResult, ask
from modelworks.validation.facts import content_facts, row_facts
from modelworks.validation.label_leakage import leaking_features
from modelworks.validation.quarantine import BadRow, bad_rows

__all__ = ["validate"]

SHOWN = 5
"""Bad rows that a refusal names; quarantine.json would have had them all."""


def validate(
    dataset: DatasetVersion,
    objective: str,
    split: SplitConfig,
    checks: ChecksConfig,
    *,
    key: str,
    folder: Path,
    aside: Path,
) -> ValidationReport:
    """Split and judge a data set.

    Writes `splits.npy` (int8, one code per row of examples.parquet; quarantined rows have one of their own),
    `quarantine.json` and `report.json`.

    Args:
        dataset: what is in it.
        objective: kind of what is learned from it.
        split: shares of the rows.
        checks: what the config requires.
        key: of this stage's output.
        folder: where that output will be found.
        aside: where it is written now; it exists and is empty.

    Raises:
        BadInput: `checks.expect` is wrong.
        Corrupt: the examples cannot be read.
        Refused: checks failed; all of them are listed.
    """
    import numpy as np
    import pandas as pd

    examples = dataset_format.read(dataset.folder)
    official = "split" in examples.column_names
    splits = assign_splits(examples["id"].to_pylist(), examples["split"].to_pylist() if official else None, split)
    targets = list(dataset.targets)
    contents = content_facts(examples[dataset.input], dataset.modality)
    facts = pd.concat([row_facts(examples, splits, targets), contents], axis=1)
    bad = bad_rows(facts, examples, targets)
    budget = _budget(bad, len(facts), checks)
    if len(bad) == len(facts):  # there is nothing left to judge
        raise _refusal(dataset, [budget], bad)
    usable = facts.drop([each.row for each in bad])
    usable = usable.join(checks_module(objective).target_facts(usable))
    if target := checks_module(objective).LEAKAGE:
        usable = usable.join(leaking_features(usable, examples, dataset, target, checks.max_single_auc))
    questions = (*mandatory(dataset, objective, checks), *configured(checks, list(usable.columns)))
    answers, outcome = ask(questions, usable, dataset.name)
    answers = (budget, *answers)
    if not all(answer.check.passed for answer in answers if answer.required):
        raise _refusal(dataset, answers, bad)

    splits[[each.row for each in bad]] = QUARANTINED
    report = ValidationReport(
        dataset=dataset,
        key=key,
        folder=folder,
        checks=tuple(answer.check for answer in answers),
        quarantined=len(bad),
        warnings=(
            *(_sentence(answer.check) for answer in answers if not answer.check.passed),
            *remarks(
                facts,
                usable,
                modality=dataset.modality,
                objective=objective,
                targets=targets,
                official=official,
            ),
        ),
        rows={name: int((splits == code).sum()) for code, name in enumerate(SPLIT_NAMES)},
    )
    np.save(aside / "splits.npy", splits)
    write_json(aside / "quarantine.json", [dataclasses.asdict(each) for each in bad])
    write_json(
        aside / "report.json",
        {
            "dataset": dataset.name,
            "digest": dataset.digest,
            "rows": report.rows,
            "quarantined": report.quarantined,
            "checks": [dataclasses.asdict(check) for check in report.checks],
            "warnings": report.warnings,
            "great_expectations": outcome,
        },
    )
    return report


def _budget(bad: Sequence[BadRow], rows: int, checks: ChecksConfig) -> CheckResult:
    share = len(bad) / rows
    allowed = math.ceil(share * 1000) / 1000
    return CheckResult(
        check=Check(
            name="bad rows",
            passed=share <= checks.max_bad_share,
            observed=f"{len(bad)} of {rows} ({share:.3%})",
            required=f"at most {checks.max_bad_share:.3%}",
            hint="correct or remove the bad rows"
            + (f", or set checks.max_bad_share: {allowed:g}" if allowed < 1 else ""),
        ),
    )


def _refusal(dataset: DatasetVersion, answers: Sequence[CheckResult], bad: Sequence[BadRow]) -> Refused:
    """One line per failed check; below that of the bad rows, the first of them."""
    failed = [answer for answer in answers if answer.required and not answer.check.passed]
    lines = [f"the data of {dataset.name} fails {len(failed)} of {len(answers)} checks"]
    for answer in failed:
        lines.append(f"  {_sentence(answer.check)}")
        if answer.check.name == "bad rows":
            lines += [f"    {each}" for each in bad[:SHOWN]]
            if len(bad) > SHOWN:
                lines.append(f"    and {len(bad) - SHOWN} more")
    return Refused("\n".join(lines), "; ".join(dict.fromkeys(answer.check.hint for answer in failed)))


def _sentence(check: Check) -> str:
    return f"{check.name}: observed {check.observed}, required {check.required}"

"""Validate a data set: compute facts, quarantine bad rows, and check the rest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.data import dataset_format
from modelworks.data.splits import QUARANTINED, SPLIT_NAMES, SplitConfig, assign_splits
from modelworks.errors import Refused
from modelworks.files.atomic_files import write_json
from modelworks.objectives.data_checks import checks_module
from modelworks.records import Check, DatasetVersion, ValidationReport
from modelworks.validation.checks import configured, mandatory
from modelworks.validation.config import ChecksConfig
from modelworks.validation.data_warnings import remarks
from modelworks.validation.expectation_suite import CheckResult, run_suite
from modelworks.validation.facts import content_facts, row_facts
from modelworks.validation.label_leakage import leaking_features
from modelworks.validation.quarantine import BadRow, bad_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["validate"]

SHOWN = 5
"""Maximum number of bad rows in an error message."""


def validate(
    dataset: DatasetVersion,
    objective: str,
    split: SplitConfig,
    checks: ChecksConfig,
    *,
    key: str,
    folder: Path,
    temporary: Path,
) -> ValidationReport:
    """Split and check a data set.

    Writes `splits.npy` (int8, the split or quarantine code of each row), `quarantine.json` and `report.json`.

    Args:
        dataset: the data version.
        objective: the kind of objective; `split` and `checks` are sections of the config.
        key: the stage's key.
        folder: the final path.
        temporary: an empty directory to write to, renamed to `folder` afterwards.

    Raises:
        BadInput: `checks.expect` is wrong.
        Corrupt: the examples cannot be read.
        Refused: checks failed; the message lists them.
    """
    import pandas as pd

    examples = dataset_format.read(dataset.folder)
    official = "split" in examples.column_names
    splits = assign_splits(examples["id"].to_pylist(), examples["split"].to_pylist() if official else None, split)
    targets = list(dataset.targets)
    contents = content_facts(examples[dataset.input], dataset.modality)
    facts = pd.concat([row_facts(examples, splits, targets), contents], axis=1)
    bad = bad_rows(facts, examples, targets)
    budget = _budget(bad, len(facts), checks)
    if len(bad) == len(facts):  # no rows are left to check
        raise _refusal(dataset, [budget], bad)
    usable = _with_target_facts(facts.drop([each.row for each in bad]), examples, dataset, objective, checks)
    data_checks = (*mandatory(dataset, objective, checks), *configured(checks, list(usable.columns)))
    of_suite, outcome = run_suite(data_checks, usable, dataset.name)
    results = (budget, *of_suite)
    if not all(result.check.passed for result in results if result.required):
        raise _refusal(dataset, results, bad)

    splits[[each.row for each in bad]] = QUARANTINED
    report = ValidationReport(
        dataset=dataset,
        key=key,
        folder=folder,
        checks=tuple(result.check for result in results),
        quarantined=len(bad),
        warnings=(
            *(_message(result.check) for result in results if not result.check.passed),
            *remarks(facts, usable, modality=dataset.modality, objective=objective, targets=targets, official=official),
        ),
        rows={name: int((splits == code).sum()) for code, name in enumerate(SPLIT_NAMES)},
    )
    _write(report, splits, bad, outcome, temporary)
    return report


def _with_target_facts(
    usable: pd.DataFrame, examples: pa.Table, dataset: DatasetVersion, objective: str, checks: ChecksConfig
) -> pd.DataFrame:
    """Return the facts of the usable rows with those about the target, such as what gives it away."""
    of_objective = checks_module(objective)
    usable = usable.join(of_objective.target_facts(usable))
    if of_objective.LEAKAGE:
        leaking = leaking_features(usable, examples, dataset, of_objective.LEAKAGE, checks.max_single_auc)
        usable = usable.join(leaking)
    return usable


def _write(report: ValidationReport, splits: np.ndarray, bad: Sequence[BadRow], outcome: object, folder: Path) -> None:
    """Write `splits.npy`, `quarantine.json` and `report.json`."""
    import numpy as np

    np.save(folder / "splits.npy", splits)
    write_json(folder / "quarantine.json", [dataclasses.asdict(each) for each in bad])
    write_json(
        folder / "report.json",
        {
            "dataset": report.dataset.name,
            "digest": report.dataset.digest,
            "rows": report.rows,
            "quarantined": report.quarantined,
            "checks": [dataclasses.asdict(check) for check in report.checks],
            "warnings": report.warnings,
            "great_expectations": outcome,
        },
    )


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


def _refusal(dataset: DatasetVersion, results: Sequence[CheckResult], bad: Sequence[BadRow]) -> Refused:
    """Return an error with one line per failed check, and the first bad rows."""
    failed = [result for result in results if result.required and not result.check.passed]
    lines = [f"the data of {dataset.name} fails {len(failed)} of {len(results)} checks"]
    for result in failed:
        lines.append(f"  {_message(result.check)}")
        if result.check.name == "bad rows":
            lines += [f"    {each}" for each in bad[:SHOWN]]
            if len(bad) > SHOWN:
                lines.append(f"    and {len(bad) - SHOWN} more")
    return Refused(
        "\n".join(lines), "; ".join(dict.fromkeys(result.check.hint for result in failed)), code="checks.failed"
    )


def _message(check: Check) -> str:
    return f"{check.name}: observed {check.observed}, required {check.required}"

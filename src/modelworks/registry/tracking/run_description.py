"""Write the description of a run, which MLflow shows on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelworks.records import Verdict

__all__ = ["TAG", "below", "write"]

TAG = "mlflow.note.content"
"""The run tag that MLflow shows as the description."""

LONGEST = 8000
"""MLflow's limit of characters for the description, which is a run tag."""


def below(before: str, text: str) -> str:
    """Append a text to a description; cut the text if both are too long."""
    room = LONGEST - len(before) - 2
    return f"{before}\n\n{text[:room]}" if before and room > 0 else before or text


def write(verdict: Verdict, production: int) -> str:
    """Return Markdown with verdict, checks, changed answers, metrics, data and production."""
    version = verdict.version
    evaluation = version.evaluation
    report = evaluation.trained.report
    compared = f"Compared with version {verdict.baseline}" if verdict.baseline else "Compared with no other version"
    passed = sum(check.passed for check in report.checks)
    lines = [
        f"### {version.name} version {version.version}: {verdict.decision}",
        "",
        f"{compared}. Production is {f'version {production}' if production else 'not set'}.",
        "",
        "| check | observed | required | |",
        "|---|---|---|---|",
        *(
            f"| {_cell(check.name)} | {_cell(check.observed)} | {_cell(check.required)} "
            f"| {'passed' if check.passed else '**failed**'} |"
            for check in verdict.checks
        ),
        "",
        *(f"- {remark}" for remark in verdict.remarks),
        *_changes(verdict),
        "",
        f"| metric on {evaluation.rows:,} test rows | value | interval | trivial baseline |",
        "|---|---|---|---|",
        *(
            f"| {name} | {value.value:.4f} | {value.low:.4f} to {value.high:.4f} ({value.confidence:.0%}) "
            f"| {_figure(evaluation.baseline.get(name))} |"
            for name, value in evaluation.metrics.items()
        ),
        "",
        (
            f"Data `{report.dataset.name}`, version `{report.dataset.digest}`: {report.dataset.rows:,} rows, "
            f"{report.quarantined:,} in quarantine, {passed} of {len(report.checks)} checks passed."
        ),
        *(f"- {warning}" for warning in report.warnings),
    ]
    text = "\n".join(lines)
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + "\n..."


def _changes(verdict: Verdict) -> Iterator[str]:
    """Yield the table of changed answers."""
    found = verdict.changes
    if found is None:
        return
    yield from (
        "",
        f"| answers compared with version {verdict.baseline} | test rows | share |",
        "|---|---|---|",
    )
    kinds = {
        "better": found.fixed,
        "worse": found.broken,
        "different, neither better nor worse": found.otherwise,
    }
    for name, rows in kinds.items():
        yield f"| {name} | {rows:,} | {rows / found.rows:.2%} |"
    yield from (f"| all changed | {sum(kinds.values()):,} | {found.churn:.2%} |", "")
    if found.calibration_error is not None:
        theirs = f"version {verdict.baseline}'s {_figure(found.baseline_calibration_error)}"
        yield f"Calibration error {found.calibration_error:.4f}, {theirs}."
    yield "Details: `verdict/verdict.html` in the MLflow run."


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

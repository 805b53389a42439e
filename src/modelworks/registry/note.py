"""A run in words: the description that MLflow shows on top of its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelworks.records import Verdict

__all__ = ["write"]

LONGEST = 8000
"""Characters of an MLflow run tag, which the description is."""


def write(verdict: Verdict, production: int) -> str:
    """Markdown: the verdict with its checks, the metrics with their intervals, the data, and what production is now."""
    version = verdict.version
    evaluation = version.evaluation
    report = evaluation.trained.report
    opponent = f"against version {verdict.opponent}" if verdict.opponent else "without an opponent"
    passed = sum(check.passed for check in report.checks)
    lines = [
        f"### {version.name} version {version.version}: {verdict.decision}",
        "",
        f"Judged {opponent}. Production is {f'version {production}' if production else 'not set'}.",
        "",
        "| check | found | demanded | |",
        "|---|---|---|---|",
        *(
            f"| {_cell(check.name)} | {_cell(check.found)} | {_cell(check.demanded)} "
            f"| {'passed' if check.passed else '**failed**'} |"
            for check in verdict.checks
        ),
        "",
        f"| metric on {evaluation.rows:,} test rows | value | interval |",
        "|---|---|---|",
        *(
            f"| {name} | {value.value:.4f} | {value.low:.4f} to {value.high:.4f} ({value.confidence:.0%}) |"
            for name, value in evaluation.metrics.items()
        ),
        "",
        (
            f"Data `{report.dataset.name}`, version `{report.dataset.digest}`: {report.dataset.rows:,} rows, "
            f"{report.quarantined:,} left out, {passed} of {len(report.checks)} checks passed."
        ),
        *(f"- {warning}" for warning in report.warnings),
    ]
    text = "\n".join(lines)
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + "\n..."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

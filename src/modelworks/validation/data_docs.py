"""Data Docs: the checks, what was found, and the Great Expectations result of each, on one page that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks import html_page

if TYPE_CHECKING:
    from modelworks.records import ValidationReport

__all__ = ["write_data_docs"]

BODY = """\
<div class="scroll"><table>
<tr><th></th><th>check</th><th>observed</th><th>required</th><th>expectation</th></tr>
{%- for check, expectation in checks %}
<tr><td class="{{ "promote" if check.passed else "reject" }}">{{ "passed" if check.passed else "failed" }}</td>
<td>{{ check.name }}</td><td class="text">{{ check.observed }}</td><td class="text">{{ check.required }}</td>
<td class="text">{{ expectation }}</td></tr>
{%- endfor %}
</table></div>
"""
HIDDEN = ("batch_id", "description", "severity")
"""Arguments that Great Expectations adds, or that are shown as the check's name."""


def write_data_docs(folder: Path, report: ValidationReport) -> None:
    """Write `folder/index.html`, which shows each check and what was found; the folder exists and is empty."""
    # Great Expectations' result of the suite as JSON values.
    outcome = json.loads((report.folder / "report.json").read_text())["great_expectations"]
    asked = {
        result["expectation_config"]["meta"]["question"]: _call(result["expectation_config"])
        for result in outcome["results"]
    }
    first = len(report.checks) - len(asked)  # checks that Great Expectations did not make come first
    checks = [(check, asked.get(index - first, "")) for index, check in enumerate(report.checks)]
    passed = sum(check.passed for check, _ in checks)
    page = html_page.fill(
        BODY,
        title=f"Checks on the data of {report.dataset.name}",
        subtitle=f"{passed} of {len(checks)} passed; data version {report.dataset.digest}",
        checks=checks,
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def _call(configured: Mapping[str, Any]) -> str:
    """Return an expectation and its arguments, as a config names them."""
    arguments = {key: value for key, value in configured["kwargs"].items() if key not in HIDDEN}
    return f"{configured['type']} {json.dumps(arguments)}"

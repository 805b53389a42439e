"""Write Data Docs: one static page with each check, its result and its expectation."""

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
"""Arguments that Great Expectations adds or that are part of the check's name."""


def write_data_docs(folder: Path, report: ValidationReport) -> None:
    """Write `folder/index.html` with each check and its result; the folder exists and is empty."""
    # The result of the suite as JSON values.
    outcome = json.loads((report.folder / "report.json").read_text())["great_expectations"]
    asked = {
        result["expectation_config"]["meta"]["question"]: _call(result["expectation_config"])
        for result in outcome["results"]
    }
    first = len(report.checks) - len(asked)  # our own checks come first
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
    """Return an expectation and its arguments as in a config."""
    arguments = {key: value for key, value in configured["kwargs"].items() if key not in HIDDEN}
    return f"{configured['type']} {json.dumps(arguments)}"

"""Great Expectations' Data Docs as one page that needs nothing but itself.

GX's own site loads styles, scripts and a logo from seven hosts, and brings 4 MB of help pictures for every result.
Its renderer and its parts of the page are used as they are, in a frame of ours.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from modelworks.records import ValidationReport

__all__ = ["write_data_docs"]


def write_data_docs(folder: Path, report: ValidationReport) -> None:
    """Write `folder/index.html`, which shows each check and what was found; the folder exists and is empty."""
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    name, version = report.dataset.name, report.dataset.digest
    # GX's result of the suite as JSON values, the form that its renderers are made for.
    outcome = json.loads((report.folder / "report.json").read_text())["great_expectations"]
    result = ExpectationSuiteValidationResultSchema().load(outcome)
    result.meta["run_id"] = {"run_name": version, "run_time": datetime.now(UTC).isoformat()}
    result.meta["batch_spec"] = {"data_asset_name": name}
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(result)
    view = DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent / "templates"))
    page = view.render(document, template="data_docs.j2", title=f"Checks on the data of {name}")
    (folder / "index.html").write_text(page, encoding="utf-8")

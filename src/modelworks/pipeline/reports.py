"""Plan the report pages. Each has its own key, on which no stage depends.

data_docs          shows validate
evaluation_page    shows score
gate_page          shows gate; stored in the registry, with the run of its version
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.pipeline.cache_keys import ingredients
from modelworks.pipeline.stage import Stage, make_stage
from modelworks.pipeline.stage_store import StageStore

if TYPE_CHECKING:
    from modelworks.pipeline.plan import Plan
    from modelworks.project import Project

__all__ = ["REPORTS", "find_report", "report_store"]

REPORTS = {"data_docs": "validate", "evaluation_page": "score", "gate_page": "gate"}
"""Each page with the stage that it shows."""

_MODULES = {
    "data_docs": "modelworks.validation.data_docs",
    "evaluation_page": "modelworks.evaluation.reports.evaluation_report",
    "gate_page": "modelworks.evaluation.reports.gate_report",
}
_LIBRARIES = {
    "data_docs": ("jinja2",),
    "evaluation_page": ("matplotlib", "pillow", "jinja2"),
    "gate_page": ("matplotlib", "pillow", "jinja2"),
}


def report_store(project: Project) -> StageStore:
    """Return the store of rendered pages."""
    return StageStore(project.state / "reports")


def find_report(plan: Plan, name: str) -> Stage | None:
    """Return a page's key and ingredients; None while the key of its stage is not known."""
    shown = plan.find(REPORTS[name])
    if shown is None:
        return None
    parts = ingredients(
        upstream={shown.name: shown.key},
        config={"evaluate": {"worst": plan.config.evaluate.worst}} if name == "evaluation_page" else {},
        modules=[_MODULES[name], *_kind_modules(plan, name)],
        libraries=_LIBRARIES[name],
        without=plan.unused,
    )
    return make_stage(name, parts)


def _kind_modules(plan: Plan, name: str) -> tuple[str, ...]:
    """Return the modules of the objective and modality that a page needs."""
    if name == "data_docs":
        return ()
    config = plan.config
    return (f"modelworks.objectives.{config.objective.kind}", f"modelworks.modalities.{config.model.modality}_preview")

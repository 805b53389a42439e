"""What stands already: the answer to "is there anything to do?", found without doing it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TypeVar

from modelworks.config.run_config import RunConfig
from modelworks.data import versioning
from modelworks.data.ingest import reason_to_work
from modelworks.pipeline.last_run import reasons, recall
from modelworks.pipeline.plan import RECORD, STAGES, STORED, Plan
from modelworks.pipeline.reports import REPORTS, find_report, report_store
from modelworks.project import Project
from modelworks.record_json import from_json
from modelworks.records import (
    Changes,
    Check,
    Evaluation,
    ModelVersion,
    Promotion,
    TrainedModel,
    ValidationReport,
    Verdict,
)
from modelworks.registry.backend.sqlite_fast_path import Glance, glance
from modelworks.registry.versions.queries import Registered

__all__ = ["PipelineStatus", "pipeline_status", "recorded_verdict", "standing", "verdict_stands"]

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class PipelineStatus:
    """What a run would do now."""

    reasons: dict[str, tuple[str, ...]]
    """For each stage in order why it would run; empty for what would not."""
    reports: dict[str, tuple[str, ...]]
    """For each page likewise why it would be rendered."""
    promotion: Promotion | None
    """The result that stands, when no stage has anything to do."""

    @property
    def nothing_to_do(self) -> bool:
        """Whether neither a stage would run nor a page be rendered."""
        return not any((*self.reasons.values(), *self.reports.values()))


def pipeline_status(project: Project, config: RunConfig) -> PipelineStatus:
    """What a run of a config would do now; changes nothing.

    Raises:
        BadInput: the source is not there.
        Unavailable, Corrupt: the registry cannot be read.
    """
    if reason := reason_to_work(project, config.source):
        later = ("depends on the result of ingest",)
        return PipelineStatus(
            reasons={"ingest": (reason,), **dict.fromkeys(STAGES[1:], later)},
            reports=dict.fromkeys(REPORTS, later),
            promotion=None,
        )
    plan = Plan(project, config, versioning.observe(project, config.source.dataset))
    last = recall(project, config.name)
    why: dict[str, tuple[str, ...]] = {"ingest": ()}
    found = None
    for name in STORED:
        stage = plan.stage(name)
        why[name] = reasons(stage, plan.store.state(name, stage.key), last)
        if why[name]:
            rest = STAGES[STAGES.index(name) + 1 :]
            why |= dict.fromkeys(rest, (f"depends on the result of {name}",))
            break
    else:
        found = glance(project, config.name, plan.stage("register").key)
        states = {"register": found.version is not None, "gate": _judged(found, plan)}
        why |= {name: reasons(plan.stage(name), "intact" if done else "absent", last) for name, done in states.items()}
        why["promote"] = () if _settled(found, plan) else ("follows the gate's verdict",)
    done = found is not None and not any(why.values())
    return PipelineStatus(
        reasons=why,
        reports={name: _page_reasons(plan, name, why[shown], found, last) for name, shown in REPORTS.items()},
        promotion=standing(plan, found) if found is not None and done else None,
    )


def _page_reasons(
    plan: Plan, name: str, shown: tuple[str, ...], found: Glance | None, last: dict[str, dict[str, str]]
) -> tuple[str, ...]:
    """Why a page would be rendered; `shown` says why the stage that it shows would run."""
    page = find_report(plan, name) if not shown else None
    if page is None:
        return (f"depends on the result of {REPORTS[name]}",)
    if name == "gate_page":
        assert found is not None
        assert found.version is not None
        state = "intact" if found.version.gate_page == page.key else "absent"
    else:
        state = report_store(plan.project).state(name, page.key)
    return reasons(page, state, last)


def standing(plan: Plan, found: Glance) -> Promotion:
    """The whole chain of records of a finished pipeline, read from the stores."""
    assert found.version is not None
    report = replace(_record(plan, "validate", ValidationReport), dataset=plan.dataset)
    trained = replace(_record(plan, "train", TrainedModel), report=report)
    registered = found.version
    version = ModelVersion(
        evaluation=replace(_record(plan, "score", Evaluation), trained=trained),
        key=plan.stage("register").key,
        name=registered.name,
        version=registered.version,
        run_id=registered.run_id,
        experiment_id=registered.experiment_id,
        digest=registered.digest,
    )
    return Promotion(
        verdict=recorded_verdict(registered, version, plan.stage("gate").key),
        moved=False,
        production=found.production,
    )


def _record(plan: Plan, name: str, kind: type[R]) -> R:
    folder = plan.store.folder(name, plan.stage(name).key)
    return from_json(kind, json.loads((folder / RECORD).read_text()), plan.project.root)


def recorded_verdict(registered: Registered, version: ModelVersion, key: str) -> Verdict:
    """The verdict that the registry keeps with a version."""
    values = registered.verdict
    return Verdict(
        version=version,
        key=key,
        decision=values["decision"],
        checks=tuple(Check(**check) for check in values["checks"]),
        opponent=values["opponent"],
        # Gates of earlier versions of this program kept neither.
        remarks=tuple(values.get("remarks", ())),
        changes=Changes(**values["changes"]) if values.get("changes") else None,
    )


def verdict_stands(registered: Registered, key: str, production: int) -> bool:
    """Whether a version was judged by this gate, and against what is production still, unless it was followed."""
    if registered.gate_key != key:
        return False
    followed = registered.decision != "promote" or registered.promoted_by == key
    return followed or production in (registered.verdict["opponent"], registered.version)


def _judged(found: Glance, plan: Plan) -> bool:
    return found.version is not None and verdict_stands(found.version, plan.stage("gate").key, found.production)


def _settled(found: Glance, plan: Plan) -> bool:
    """Whether the verdict was followed. What a person did to production afterwards is theirs to keep."""
    if found.version is None or not _judged(found, plan):
        return False
    return found.version.decision != "promote" or found.version.promoted_by == plan.stage("gate").key

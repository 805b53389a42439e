"""Report what a run would do, without doing it."""

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
from modelworks.registry.backend.sqlite_fast_path import RegistryState, registry_state
from modelworks.registry.versions.queries import Registered

__all__ = ["PipelineStatus", "pipeline_status", "recorded_verdict", "stored_promotion", "verdict_is_current"]

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class PipelineStatus:
    """What a run would do now."""

    reasons: dict[str, tuple[str, ...]]
    """For each stage in order, why it would run; empty if it would not."""
    reports: dict[str, tuple[str, ...]]
    """For each page, why it would be rendered; empty if it would not."""
    promotion: Promotion | None
    """The current result if every stage is up to date."""

    @property
    def nothing_to_do(self) -> bool:
        """Whether every stage and page is up to date."""
        return not any((*self.reasons.values(), *self.reports.values()))


def pipeline_status(project: Project, config: RunConfig) -> PipelineStatus:
    """Return what a run of a config would do now; change nothing.

    Raises:
        BadInput: the source does not exist.
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
        found = registry_state(project, config.name, plan.stage("register").key)
        states = {"register": found.version is not None, "gate": _is_judged(found, plan)}
        why |= {name: reasons(plan.stage(name), "intact" if done else "absent", last) for name, done in states.items()}
        why["promote"] = () if _is_carried_out(found, plan) else ("follows the gate's verdict",)
    done = found is not None and not any(why.values())
    return PipelineStatus(
        reasons=why,
        reports={name: _report_reasons(plan, name, why[shown], found, last) for name, shown in REPORTS.items()},
        promotion=stored_promotion(plan, found) if found is not None and done else None,
    )


def _report_reasons(
    plan: Plan, name: str, shown: tuple[str, ...], found: RegistryState | None, last: dict[str, dict[str, str]]
) -> tuple[str, ...]:
    """Return why a page would be rendered; `shown` is why the stage that it shows would run."""
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


def stored_promotion(plan: Plan, found: RegistryState) -> Promotion:
    """Return the records of a finished pipeline, read from the stores."""
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
    """Return the verdict that is stored with a version."""
    values = registered.verdict
    return Verdict(
        version=version,
        key=key,
        decision=values["decision"],
        checks=tuple(Check(**check) for check in values["checks"]),
        baseline=values["baseline"],
        # Absent in verdicts of earlier releases.
        remarks=tuple(values.get("remarks", ())),
        changes=Changes(**values["changes"]) if values.get("changes") else None,
    )


def verdict_is_current(registered: Registered, key: str, production: int) -> bool:
    """Return whether a verdict has this gate key, and production is unchanged or follows it."""
    if registered.gate_key != key:
        return False
    carried_out = registered.decision != "promote" or registered.promoted_by == key
    return carried_out or production in (registered.verdict["baseline"], registered.version)


def _is_judged(found: RegistryState, plan: Plan) -> bool:
    return found.version is not None and verdict_is_current(found.version, plan.stage("gate").key, found.production)


def _is_carried_out(found: RegistryState, plan: Plan) -> bool:
    """Return whether the verdict was carried out. Later manual changes of production are kept."""
    if found.version is None or not _is_judged(found, plan):
        return False
    return found.version.decision != "promote" or found.version.promoted_by == plan.stage("gate").key

"""What stands already: the answer to "is there anything to do?", found without doing it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from modelworks.config.run_config import RunConfig
from modelworks.data import versioning
from modelworks.data.ingest import reason_to_work
from modelworks.pipeline.plan import Plan, make_plan, reasons
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project
from modelworks.records import Changes, Check, Evaluation, ModelVersion, Promotion, Verdict, from_json
from modelworks.registry.backend.sqlite_fast_path import Glance, glance
from modelworks.registry.versions.queries import Registered

__all__ = ["PipelineStatus", "pipeline_status", "recorded_verdict", "standing", "verdict_stands"]

RECORD = "record.json"


@dataclass(frozen=True, kw_only=True)
class PipelineStatus:
    """What a run would do now."""

    reasons: dict[str, tuple[str, ...]]
    """For each stage in order why it would run; empty for what would not."""
    promotion: Promotion | None
    """The result that stands, when there is nothing to do."""


def pipeline_status(project: Project, config: RunConfig) -> PipelineStatus:
    """What a run of a config would do now; changes nothing.

    Raises:
        BadInput: the source is not there.
        Unavailable, Corrupt: the registry cannot be read.
    """
    reason = reason_to_work(project, config.source)
    if reason is not None:
        later = ("follows ingest",)
        names = ("validate", "train", "evaluate", "register", "gate", "promote")
        return PipelineStatus(reasons={"ingest": (reason,), **dict.fromkeys(names, later)}, promotion=None)
    plan = make_plan(project, config, versioning.observe(project, config.source.dataset))
    found = glance(project, config.name, plan.register.key)
    why = {
        "ingest": (),
        **reasons(project, config, plan, {"register": _registered(found), "gate": _judged(found, plan)}),
    }
    why["promote"] = () if _settled(found, plan) else ("follows the gate's verdict",)
    done = not any(why.values())
    return PipelineStatus(reasons=why, promotion=standing(project, plan, found) if done else None)


def standing(project: Project, plan: Plan, found: Glance) -> Promotion:
    """The whole chain of records of a finished pipeline, read from the stores."""
    assert found.version is not None
    folder = StageStore(project.stages).folder("evaluate", plan.evaluate.key)
    evaluation = from_json(Evaluation, json.loads((folder / RECORD).read_text()), project.root)
    registered = found.version
    version = ModelVersion(
        evaluation=evaluation,
        key=plan.register.key,
        name=registered.name,
        version=registered.version,
        run_id=registered.run_id,
        experiment_id=registered.experiment_id,
        digest=registered.digest,
    )
    return Promotion(
        verdict=recorded_verdict(registered, version, plan.gate.key), moved=False, production=found.production
    )


def recorded_verdict(registered: Registered, version: ModelVersion, key: str) -> Verdict:
    """The verdict that the registry keeps with a version."""
    values = json.loads(registered.verdict)
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
    return followed or production in (json.loads(registered.verdict)["opponent"], registered.version)


def _registered(found: Glance) -> bool:
    return found.version is not None


def _judged(found: Glance, plan: Plan) -> bool:
    return found.version is not None and verdict_stands(found.version, plan.gate.key, found.production)


def _settled(found: Glance, plan: Plan) -> bool:
    """Whether the verdict was followed. What a person did to production afterwards is theirs to keep."""
    if found.version is None or not _judged(found, plan):
        return False
    return found.version.decision != "promote" or found.version.promoted_by == plan.gate.key

"""The training flow: ingest, validate, train, score, register, gate and promote."""

from __future__ import annotations

import time
from threading import Event
from typing import Any
from uuid import UUID

from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from flows.cancellation import watch_cancellation
from modelworks.config import run_config as configuration
from modelworks.config.run_config import RunConfig
from modelworks.errors import BadInput, Interrupted
from modelworks.fault_injection import effect
from modelworks.pipeline.last_run import remember
from modelworks.pipeline.plan import Plan
from modelworks.project import Project
from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.tracking.tags import ATTEMPT, OWNER
from tasks.artifacts import conclude, track
from tasks.context import open_run
from tasks.gate import gate
from tasks.ingest import ingest
from tasks.promote import promote
from tasks.register import register
from tasks.score import score
from tasks.train import train
from tasks.validate import validate

__all__ = ["training"]


def run_name() -> str:
    """Return the flow run's name: the model and the scheduled start in the local time zone."""
    given, due = runtime.flow_run.parameters, runtime.flow_run.scheduled_start_time
    try:
        model = configuration.load(Project.find().root / given["config"], given.get("overrides") or []).name
    except BadInput:  # the flow raises it again
        model = given["config"]
    return f"{model} {due.astimezone():%Y-%m-%d %H:%M}"


@flow(name="training", flow_run_name=run_name, persist_result=True, result_serializer="json", validate_parameters=True)
def training(config: str, overrides: list[str] | None = None) -> dict[str, Any] | State[Any]:
    """Bring one pipeline up to date and return the summary.

    Args:
        config: the YAML file, relative to the project.
        overrides: assignments `section.key=value`, as on the command line.
    """
    started = time.monotonic()
    _record_owner()
    project = Project.find()
    settings = configuration.load(project.root / config, overrides or [])
    with watch_cancellation(str(runtime.flow_run.id)) as cancelled:
        try:
            return _stages(project, settings, cancelled, started)
        except Interrupted as error:
            if cancelled.is_set():
                return Cancelled(message=error.message)
            raise


def _stages(project: Project, settings: RunConfig, cancelled: Event, started: float) -> dict[str, Any]:
    with open_run(project, settings) as run:
        run.cancelled = cancelled
        dataset = ingest(run)
        plan = Plan(project, settings, dataset)
        with track(run, plan, str(runtime.flow_run.id)):
            report = validate(run, plan, dataset)
            trained = train(run, plan, report)
            evaluation = score(run, plan, trained)
            version = register(run, plan, evaluation)
            verdict = gate(run, plan, version)
            promotion = promote(run, verdict)
        with effect("run.remember"):
            remember(project, settings.name, (*plan.known, *run.pages))
        return conclude(run, promotion, str(runtime.flow_run.id), time.monotonic() - started)


def _record_owner() -> None:
    """Label the flow run with this process, so that `doctor` can detect that it is dead."""
    flow_run_id = UUID(str(runtime.flow_run.id))
    with get_client(sync_client=True) as client:
        # A run that is retried in the Prefect UI still has the labels of its earlier attempt.
        attempt = {ATTEMPT: str(client.read_flow_run(flow_run_id).run_count)}
        owner = {OWNER + part: value for part, value in Owner.this().written().items()}
        client.update_flow_run_labels(flow_run_id, {**owner, **attempt})

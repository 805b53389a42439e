"""What all tasks of one run share: the project, the config, the tracking run and the display."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from prefect import get_run_logger

from modelworks.config.run_config import RunConfig
from modelworks.errors import Interrupted
from modelworks.files.locks import locked
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project
from modelworks.training.launchers.local import Trainer
from modelworks.training.machine.detect import detect
from tasks.display import Display, LoggedDisplay, make_display

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.pipeline.stage import Stage
    from modelworks.registry.verification.isolated_process import IsolatedModel

__all__ = ["RunContext", "open_run"]

R = TypeVar("R")


class RunContext:
    """One run of one config.

    A plain class, not a dataclass: Prefect looks into dataclasses for futures to wait for.
    """

    def __init__(self, project: Project, config: RunConfig, client: MlflowClient, display: Display) -> None:
        self.project, self.config, self.client, self.display = project, config, client, display
        self.witness: IsolatedModel | None = None
        """A fresh process that imports MLflow meanwhile, to ask the model before a promotion."""
        self.trainer: Trainer | None = None
        """A fresh trainer program that imports torch meanwhile."""
        self.run_id = ""
        """The MLflow run; empty while there is nothing to track."""
        self.version_run_id = ""
        """The MLflow run of the version that stands, when nothing but pages may have to be rendered."""
        self.pages: list[Stage] = []
        """The keys of the pages that were rendered or found so far."""
        self.outcomes: dict[str, str] = {}
        """What became of each stage so far: ran, cached, resumed, verified."""
        self.cancelled = threading.Event()
        """Set when the flow run was cancelled in Prefect."""

    def stop_if_cancelled(self) -> None:
        """Raise `Interrupted` if the flow run was cancelled in Prefect."""
        if self.cancelled.is_set():
            raise Interrupted(signal.SIGINT, "a cancellation in Prefect")

    def finished(self, stage: str, outcome: str, seconds: float, detail: str) -> None:
        """Note and show that a stage is over."""
        self.outcomes[stage] = outcome
        self.display.stage(stage, outcome, seconds, detail)

    def call_witness(self) -> None:
        """Start the process that a promotion will want; it takes seconds until it can answer."""
        from modelworks.registry.verification.isolated_process import IsolatedModel

        self.witness = self.witness or IsolatedModel()

    def take_witness(self) -> IsolatedModel:
        """The process that was called, or a new one: whoever takes it ends it, and a retry has another."""
        from modelworks.registry.verification.isolated_process import IsolatedModel

        witness, self.witness = self.witness or IsolatedModel(), None
        return witness

    def call_trainer(self) -> None:
        """Start the process that a training will want; it takes seconds until it can begin."""
        self.trainer = self.trainer or Trainer(detect(self.config.compute))

    def take_trainer(self) -> Trainer | None:
        """The trainer that was called, once: it does one job."""
        trainer, self.trainer = self.trainer, None
        return trainer

    def track(self, log: Callable[[MlflowClient, str, R], None], record: R) -> None:
        """Log a record onto the MLflow run, if there is one."""
        if self.run_id:
            log(self.client, self.run_id, record)


@contextmanager
def open_run(project: Project, config: RunConfig) -> Iterator[RunContext]:
    """A run that nobody else is doing: services checked, leftovers of dead runs closed, the pipeline locked.

    To be called in a flow, whose log has the lines of the display.

    Raises:
        Unavailable: the tracking server does not answer, or this pipeline is running already.
    """
    from modelworks.registry.backend.tracking_store import connect
    from modelworks.registry.tracking.runs import add_note
    from modelworks.registry.tracking.stale_runs import close_stale_runs

    project.make_private_folders()
    with locked(project.locks / f"run-{config.name}.lock", f"running {config.name}", seconds=0):
        client = connect(project)
        for stale in close_stale_runs(client, [config.name]):
            add_note(client, stale, "Closed: the process that ran this is dead.")
        StageStore(project.stages).clear_leftovers()
        run = RunContext(project, config, client, LoggedDisplay(make_display(), get_run_logger().info))
        try:
            yield run
        finally:
            run.display.close()
            for helper in (run.witness, run.trainer):
                if helper is not None:
                    helper.close()

"""The context that all tasks of one run share: project, config, tracking run and display."""

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

    A plain class, because Prefect searches dataclasses for futures to wait for.
    """

    def __init__(self, project: Project, config: RunConfig, client: MlflowClient, display: Display) -> None:
        self.project, self.config, self.client, self.display = project, config, client, display
        self.isolated_model: IsolatedModel | None = None
        """An isolated process that imports MLflow in advance and tries the model before a promotion."""
        self.trainer: Trainer | None = None
        """A trainer process that imports torch in advance."""
        self.run_id = ""
        """The MLflow run; empty if nothing is tracked."""
        self.version_run_id = ""
        """The MLflow run of the current version, if all stages are up to date and only pages may be rendered."""
        self.pages: list[Stage] = []
        """The keys of the pages that were rendered or found so far."""
        self.outcomes: dict[str, str] = {}
        """The outcome of each finished stage: ran, cached, resumed, verified."""
        self.cancelled = threading.Event()
        """Set when the flow run was cancelled in Prefect."""

    def stop_if_cancelled(self) -> None:
        """Raise `Interrupted` if the flow run was cancelled in Prefect."""
        if self.cancelled.is_set():
            raise Interrupted(signal.SIGINT, "a cancellation in Prefect")

    def finished(self, stage: str, outcome: str, seconds: float, detail: str) -> None:
        """Record and show that a stage finished."""
        self.outcomes[stage] = outcome
        self.display.stage(stage, outcome, seconds, detail)

    def start_isolated_model(self) -> None:
        """Start the isolated process of a later promotion; it needs seconds to import its libraries."""
        from modelworks.registry.verification.isolated_process import IsolatedModel

        self.isolated_model = self.isolated_model or IsolatedModel()

    def take_isolated_model(self) -> IsolatedModel:
        """Return the isolated process, or a new one, and hand over its ownership."""
        from modelworks.registry.verification.isolated_process import IsolatedModel

        isolated_model, self.isolated_model = self.isolated_model or IsolatedModel(), None
        return isolated_model

    def start_trainer(self) -> None:
        """Start the process of a later training; it needs seconds to import its libraries."""
        self.trainer = self.trainer or Trainer(detect(self.config.compute))

    def take_trainer(self) -> Trainer | None:
        """Return the trainer process, if one was started, and hand over its ownership.

        It runs one job.
        """
        trainer, self.trainer = self.trainer, None
        return trainer

    def track(self, log: Callable[[MlflowClient, str, R], None], record: R) -> None:
        """Log a record to the MLflow run, if there is one."""
        if self.run_id:
            log(self.client, self.run_id, record)


@contextmanager
def open_run(project: Project, config: RunConfig) -> Iterator[RunContext]:
    """Lock the pipeline, check services, close runs of dead processes, and yield the context.

    Call it in a flow: the lines of the display also go to the flow run's log.

    Raises:
        Unavailable: the tracking server does not reply, or this pipeline is already running.
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
            for process in (run.isolated_model, run.trainer):
                if process is not None:
                    process.close()

"""The MLflow run around the stages gets the status of their end, and the first error is raised."""

# ruff: noqa: F811  # imported fixtures are used as arguments

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pipelines.tracking_server import tracking_server
from registry.conftest import _quiet, empty_store, project  # noqa: F401  # fixtures
from samples.runs import CONFIG, DATASET

from modelworks.errors import BadInput, Interrupted
from modelworks.pipeline.plan import Plan
from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from tasks.artifacts import track
from tasks.context import RunContext
from tasks.display import PlainDisplay


def run_stages(run: RunContext, stages: Callable[[], None]) -> None:
    """Run a function in place of the stages, tracked."""
    with track(run, Plan(run.project, CONFIG, DATASET), ""):
        stages()


def test_mlflow_run_is_finished_after_its_stages(project: Project) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    run_stages(run, lambda: None)
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("no such rows"), "FAILED"),
        (RuntimeError("a bug"), "FAILED"),
        (Interrupted(signal.SIGTERM), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
    ids=repr,
)
def test_mlflow_run_has_the_status_of_the_error(project: Project, error: BaseException, status: str) -> None:
    def stages() -> None:
        raise error

    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    with pytest.raises(type(error)) as caught:
        run_stages(run, stages)
    assert caught.value is error
    assert run.client.get_run(run.run_id).info.status == status


@pytest.mark.slow
def test_first_error_is_raised_if_the_server_is_down_at_the_end(
    project: Project,
    empty_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with tracking_server(tmp_path / "server", empty_store) as (address, server):
        shared = Project(project.root, mlflow_uri=address)
        run = RunContext(shared, CONFIG, tracking_store.connect(shared), PlainDisplay())

        def stages() -> None:
            workers = psutil.Process(server.pid).children(recursive=True)
            os.killpg(server.pid, signal.SIGKILL)
            psutil.wait_procs(workers, timeout=60)
            raise BadInput("no such rows")

        with pytest.raises(BadInput, match="no such rows"):
            run_stages(run, stages)
    printed = capsys.readouterr().err
    assert address in printed
    assert "the MLflow run was not closed" in printed


def test_first_error_is_raised_if_the_run_was_deleted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())

    def stages() -> None:
        run.client.delete_run(run.run_id)
        raise BadInput("no such rows")

    with pytest.raises(BadInput, match="no such rows"):
        run_stages(run, stages)
    assert f"{run.run_id} must be in the 'active' state" in capsys.readouterr().err

"""The MLflow run around the stages tells how they ended, and never hides why."""

# ruff: noqa: F811  # fixtures are imported, and then asked for by name

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from registry.conftest import _quiet, empty_store, project  # noqa: F401  # fixtures
from runs import CONFIG, DATASET
from tracking_server import tracking_server

from modelworks.errors import BadInput, Interrupted
from modelworks.pipeline.plan import Plan
from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from tasks.artifacts import track
from tasks.context import RunContext
from tasks.display import PlainDisplay


def pass_stages(run: RunContext, ending: Callable[[], None]) -> None:
    """Stages, tracked, that come to that end."""
    with track(run, Plan(run.project, CONFIG, DATASET), ""):
        ending()


def test_the_run_in_mlflow_is_finished_when_its_stages_are(project: Project) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    pass_stages(run, lambda: None)
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
def test_the_run_in_mlflow_tells_how_its_stages_ended(project: Project, error: BaseException, status: str) -> None:
    def ending() -> None:
        raise error

    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    with pytest.raises(type(error)) as caught:
        pass_stages(run, ending)
    assert caught.value is error
    assert run.client.get_run(run.run_id).info.status == status


def test_the_first_error_is_the_one_told_when_the_store_is_away_at_the_end(
    project: Project,
    empty_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with tracking_server(tmp_path / "server", empty_store) as (address, server):
        shared = Project(project.root, mlflow_uri=address)
        run = RunContext(shared, CONFIG, tracking_store.connect(shared), PlainDisplay())

        def ending() -> None:
            workers = psutil.Process(server.pid).children(recursive=True)
            os.killpg(server.pid, signal.SIGKILL)
            psutil.wait_procs(workers, timeout=60)
            raise BadInput("no such rows")

        with pytest.raises(BadInput, match="no such rows"):
            pass_stages(run, ending)
    said = capsys.readouterr().err
    assert f"{address} does not answer" in said
    assert "the MLflow run was not closed; the next run closes what is open" in said


def test_the_first_error_is_the_one_told_when_somebody_has_deleted_the_run(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())

    def ending() -> None:
        run.client.delete_run(run.run_id)
        raise BadInput("no such rows")

    with pytest.raises(BadInput, match="no such rows"):
        pass_stages(run, ending)
    assert f"{run.run_id} must be in the 'active' state" in capsys.readouterr().err

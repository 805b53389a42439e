"""Errors of tracking do not stop a training."""

# ruff: noqa: F811  # imported fixtures are used as arguments

from __future__ import annotations

import pytest
from registry.conftest import _quiet, empty_store, project  # noqa: F401  # fixtures
from samples.runs import CONFIG

from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from modelworks.registry.tracking import runs
from tasks.context import RunContext
from tasks.display import PlainDisplay
from tasks.train import _curves


def test_deleted_mlflow_run_does_not_stop_the_training(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    run.run_id = runs.start(
        run.client, project, experiment="small", parameters={}, prefect_flow_run_id="", prefect_url=""
    )
    with _curves(run) as add:
        run.client.delete_run(run.run_id)
        add({"type": "epoch", "step": 3, "epoch": 1, "time": 1004.0, "loss": 0.4})
    printed = capsys.readouterr().err
    assert "was deleted" in printed
    assert "the curves in MLflow are incomplete" in printed

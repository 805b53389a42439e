"""What happens around a training takes no model away."""

# ruff: noqa: F811  # fixtures are imported, and then asked for by name

from __future__ import annotations

import pytest
from registry.conftest import _quiet, empty_store, project  # noqa: F401  # fixtures
from runs import CONFIG

from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from modelworks.registry.tracking import runs
from tasks.context import RunContext
from tasks.display import PlainDisplay
from tasks.train import _curves


def test_a_run_that_somebody_deletes_costs_its_curves_and_not_the_model(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunContext(project, CONFIG, tracking_store.connect(project), PlainDisplay())
    run.run_id = runs.start(
        run.client, project, experiment="small", parameters={}, prefect_flow_run_id="", prefect_url=""
    )
    with _curves(run) as add:
        run.client.delete_run(run.run_id)
        add({"type": "epoch", "step": 3, "epoch": 1, "time": 1004.0, "loss": 0.4})
    said = capsys.readouterr().err
    assert "was deleted" in said
    assert "the curves in MLflow are incomplete, events.jsonl is whole" in said

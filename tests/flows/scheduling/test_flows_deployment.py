"""The deployments of prefect.yaml, run by a Prefect worker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from modelworks.config import run_config as configuration
from modelworks.pipeline.plan import STAGES

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

REPOSITORY = Path(__file__).parents[3]
PREFECT = Path(sys.executable).with_name("prefect")


def test_every_config_has_a_deployment_with_its_name() -> None:
    deployments = YAML(typ="safe").load(REPOSITORY / "prefect.yaml")["deployments"]
    configs = {path.stem: f"configs/{path.name}" for path in (REPOSITORY / "configs").glob("*.yaml")}
    assert {each["name"]: each["parameters"]["config"] for each in deployments} == configs
    for each in deployments:
        schedule = configuration.load(REPOSITORY / each["parameters"]["config"]).schedule
        expected = [{"cron": schedule.cron, "timezone": schedule.timezone}] if schedule else None
        assert each.get("schedules") == expected, each["name"]


@pytest.mark.slow
def test_worker_runs_the_deployed_flow_in_the_project(after_digits: Workspace, server_url: str) -> None:
    shutil.copy(REPOSITORY / "prefect.yaml", after_digits.root)
    settings = {**after_digits.project.environment(), **after_digits.environment}

    def prefect(*arguments: str) -> None:
        done = subprocess.run(
            [PREFECT, "--no-prompt", *arguments], cwd=after_digits.root, env=settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def request(path: str, content: dict[str, Any] | None = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        prepared = urllib.request.Request(f"{server_url}/{path}", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(prepared) as response:
            return json.load(response)

    request("work_pools/", {"name": "modelworks", "type": "process"})
    prefect("deploy", "--name", "digits_cnn")
    deployment = request("deployments/name/training/digits_cnn")
    flow_run = request(f"deployments/{deployment['id']}/create_flow_run", {})
    prefect("worker", "start", "--pool", "modelworks", "--run-once", "--install-policy", "never")

    assert request(f"flow_runs/{flow_run['id']}")["state_name"] == "Completed"
    only_this = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    states = {task["name"].rpartition("-")[0]: task["state_name"] for task in request("task_runs/filter", only_this)}
    assert states == {"ingest": "Completed", **dict.fromkeys(STAGES[1:], "Cached")}
    assert after_digits.registered() == {"digits-cnn": [1]}

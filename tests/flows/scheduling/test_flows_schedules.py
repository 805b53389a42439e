"""`modelworks up` schedules the configs whose data exist, and names the others."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pipelines.commands import REPOSITORY
from pipelines.ports import free_port

from flows.schedules import scheduled
from modelworks.config import run_config as configuration
from modelworks.project import Project

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

UNSCHEDULED = ("fashion_cnn", "tweets_transformer", "tweets_minilm")


def uncommented(name: str) -> str:
    """Return a shipped config with its schedule uncommented as its comment says."""
    text = (REPOSITORY / "configs" / f"{name}.yaml").read_text()
    return text.replace("# schedule:\n#   cron:", "schedule:\n  cron:")


def fashion_without_data(root: Path) -> None:
    """Schedule fashion_cnn in a project on a machine that lacks its data."""
    text = uncommented("fashion_cnn").replace("/usr/share/datasets/fashion-mnist", str(root / "absent"))
    (root / "configs" / "fashion_cnn.yaml").write_text(text)


def test_only_the_two_small_shipped_configs_are_scheduled() -> None:
    found = {path.stem for path in (REPOSITORY / "configs").glob("*.yaml") if configuration.load(path).schedule}
    assert found == {"mnist_cnn", "digits_cnn"}


@pytest.mark.parametrize("name", UNSCHEDULED)
def test_commented_schedule_is_valid_once_uncommented(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(uncommented(name))
    assert configuration.load(path).schedule is not None


def test_scheduled_config_without_its_data_names_the_missing_file(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    shutil.copy(REPOSITORY / "configs" / "digits_cnn.yaml", tmp_path / "configs")
    fashion_without_data(tmp_path)
    digits, fashion = scheduled(Project(tmp_path))
    assert (digits.name, digits.missing, digits.hint) == ("digits-cnn", "", "")
    assert f"{tmp_path}/absent/train-images-idx3-ubyte.gz" in fashion.missing
    assert "apt-get install dataset-fashion-mnist" in fashion.hint


@pytest.mark.slow
def test_up_names_a_config_without_data_and_gives_it_no_deployment(
    copy: Callable[[Path], Workspace], bare: Path
) -> None:
    workspace = copy(bare)
    fashion_without_data(workspace.root)
    prefect_port = free_port()
    ports = ("--mlflow-port", str(free_port()), "--prefect-port", str(prefect_port))
    with workspace.running("up", "--json", *ports) as up:
        assert up.process.stdout is not None
        lines = []
        for line in up.process.stdout:  # one indented object
            lines.append(line)
            if line == "}\n":
                break
        notice = json.loads("".join(lines))
        up.wait_until(lambda: len(deployments(prefect_port)) >= 2)
        deployed = deployments(prefect_port)
        up.signal(signal.SIGINT)
        assert up.finish().code == 0
    assert sorted(item["config"] for item in notice["scheduled"]) == [
        "configs/digits_cnn.yaml",
        "configs/mnist_cnn.yaml",
    ]
    (named,) = notice["not_scheduled"]
    assert (named["config"], named["model"]) == ("configs/fashion_cnn.yaml", "fashion-cnn")
    assert str(workspace.root / "absent") in named["missing"]
    assert {each["name"] for each in deployed} == {"digits_cnn", "mnist_cnn"}


def deployments(port: int) -> Any:
    """Return the deployments on the Prefect server."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/deployments/filter", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)

"""No process of ours loads a pickle, whatever the user's environment is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from modelworks.project import Project
from modelworks.registry.verification.isolated_process import IsolatedModel
from modelworks.settings import ENFORCED

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


@pytest.fixture(autouse=True)
def _restored_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_entering_a_project_enforces_security_settings(tmp_path: Path) -> None:
    os.environ.update(dict.fromkeys(ENFORCED, "true"))
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "77"
    Project(tmp_path).enter()
    assert {name: os.environ[name] for name in ENFORCED} == ENFORCED
    assert os.environ[PICKLE] == "false"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def test_isolated_process_loads_no_pickle() -> None:
    os.environ[PICKLE] = "true"
    with IsolatedModel() as isolated_model:
        isolated_model.installed([])  # after a reply, the process has its environment
        assert psutil.Process(isolated_model._child.pid).environ()[PICKLE] == "false"


@pytest.mark.slow
def test_no_process_of_a_run_loads_a_pickle(workspace: Workspace) -> None:
    """Check the trainer and the isolated process while the command runs."""
    seen: dict[str, str | None] = {}
    with workspace.with_environment(**{PICKLE: "true"}).running("run", "configs/digits_cnn.yaml", "--json") as run:
        while run.process.poll() is None:
            for each in psutil.process_iter(["pid", "ppid"]):
                if each.info["ppid"] == run.process.pid:
                    try:
                        command, found = " ".join(each.cmdline()), each.environ().get(PICKLE)
                    except (psutil.NoSuchProcess, psutil.ZombieProcess):
                        continue
                    # Between fork and exec a child still has the command's arguments.
                    if found is not None and ("modelworks.training" in command or "isolated_main.py" in command):
                        seen[command] = found
            with suppress(subprocess.TimeoutExpired):
                run.process.wait(0.1)
        outcome = run.finish()
    assert outcome.code == 0, json.dumps(outcome.stderr)
    assert len(seen) >= 2, seen
    assert {*seen.values()} == {"false"}

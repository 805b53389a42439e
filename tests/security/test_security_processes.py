"""No process of ours reads a pickle, whatever the environment that it was started in says."""

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
    from fixtures_of_flows import Workspace

PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_entering_a_project_overrules_the_user_where_it_must(tmp_path: Path) -> None:
    os.environ.update(dict.fromkeys(ENFORCED, "true"))
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "77"
    Project(tmp_path).enter()
    assert {name: os.environ[name] for name in ENFORCED} == ENFORCED
    assert os.environ[PICKLE] == "false"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def test_the_witness_reads_none() -> None:
    os.environ[PICKLE] = "true"
    with IsolatedModel() as witness:
        witness.installed([])  # an answer: the kernel has its environment for certain
        assert psutil.Process(witness._child.pid).environ()[PICKLE] == "false"


def test_no_process_of_a_run_reads_any(workspace: Workspace) -> None:
    """The command, the trainer, the fresh process that asks the model: all that a run starts, as long as it runs."""
    seen: dict[str, str | None] = {}
    with workspace.with_environment(**{PICKLE: "true"}).running("run", "configs/digits_cnn.yaml", "--json") as run:
        while run.process.poll() is None:
            for each in psutil.process_iter(["pid", "ppid"]):
                if each.info["ppid"] == run.process.pid:
                    try:
                        command, found = " ".join(each.cmdline()), each.environ().get(PICKLE)
                    except (psutil.NoSuchProcess, psutil.ZombieProcess):
                        continue
                    # Between fork and exec a child is still a copy of the command.
                    if found is not None and ("modelworks.training" in command or "isolated_main.py" in command):
                        seen[command] = found
            with suppress(subprocess.TimeoutExpired):
                run.process.wait(0.1)  # until the next look
        outcome = run.finish()
    assert outcome.code == 0, json.dumps(outcome.stderr)
    assert len(seen) >= 2, seen
    assert {*seen.values()} == {"false"}

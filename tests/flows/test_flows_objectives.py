"""Regression and multilabel go through every stage and command, with a table of texts and with a table of images."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from pipelines.clones import make_clone, running_from
from ruamel.yaml import YAML
from samples.objective_cases import CASES, GROUPS, ROWS, Case

from modelworks.data import dataset_format
from modelworks.pipeline.plan import STAGES

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

pytestmark = pytest.mark.slow
RUN = ("run", "configs/own.yaml")


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="session")
def trained(shared_project: Callable[..., Path], server_url: str, case: Case) -> Path:
    """A git clone of the code in which the combination was brought to production."""

    def make(workspace: Workspace) -> Any:
        make_clone(workspace.root)
        case.write(workspace.root)
        return of_clone(workspace, server_url).done(*RUN)

    return shared_project(f"{case.objective}-{case.modality}", make)


@pytest.fixture
def summary(trained: Path) -> dict[str, Any]:
    """The JSON object of that run."""
    return json.loads(trained.with_name("made.json").read_text())


@pytest.fixture
def workspace(copy: Callable[[Path], Workspace], trained: Path, server_url: str) -> Workspace:
    return of_clone(copy(trained), server_url)


def of_clone(workspace: Workspace, server_url: str) -> Workspace:
    """The workspace whose commands are those of its own code, which `rebuild` finds in git."""
    environment = running_from(workspace.root, workspace.environment)
    return replace(workspace, environment={**environment, "PREFECT_API_URL": server_url})


def test_first_run_validates_scores_with_intervals_and_promotes(
    workspace: Workspace, summary: dict[str, Any], case: Case
) -> None:
    assert summary["stages"] == dict.fromkeys(STAGES, "ran")
    assert (summary["verdict"], summary["version"], summary["production"]) == ("promote", 1, 1)
    assert all(summary["checks"].values())
    assert f"rows with {'labels' if case.column == 'labels' else 'a number'}" in summary["checks"]
    assert sum(summary["rows"].values()) == ROWS
    for name, interval in summary["metrics"].items():
        assert interval["low"] <= interval["value"] <= interval["high"], name
        assert interval["low"] < interval["high"], name
    found, trivial = summary["metrics"][case.metric]["value"], summary["baseline"][case.metric]
    assert found < trivial / 2 if case.column == "number" else found > (1 + trivial) / 2
    assert workspace.done("why", "configs/own.yaml")["nothing_to_do"]
    verdict = workspace.done("why", "own")
    assert (verdict["decision"], verdict["version"], verdict["production"]) == ("promote", 1, 1)


def test_run_keeps_the_config_that_print_config_prints(
    workspace: Workspace, summary: dict[str, Any], case: Case
) -> None:
    printed = workspace.done(*RUN, "--print-config")
    run_id = summary["mlflow_run_id"]
    kept = YAML(typ="safe").load(Path(workspace.client.download_artifacts(run_id, "config.yaml")).read_text())
    assert kept == printed
    parameters = workspace.client.get_run(run_id).data.params
    assert parameters["objective.kind"] == case.objective
    assert {name.partition(".")[0] for name in parameters} == printed.keys()


def test_training_killed_halfway_resumes_to_the_same_bits(workspace: Workspace) -> None:
    weights = workspace.stage_folder("train") / "model" / "model.safetensors"
    uninterrupted = hashlib.sha256(weights.read_bytes()).hexdigest()
    shutil.rmtree(workspace.stage_folder("train"))
    often = (*RUN, "--set", "train.checkpoint_steps=5", "--json")  # not in the key
    with workspace.running(*often) as run:
        run.wait_until(lambda: any(each.get("step", 0) > 90 for each in workspace.training_events()))
        trainer = run.child("modelworks.training")
        trainer.suspend()  # it would write a checkpoint when its parent ends
        run.signal(signal.SIGKILL)
        trainer.kill()
        run.process.wait()
    outcome = workspace.run(*often)
    assert outcome.code == 0, outcome.stderr
    assert outcome.object["stages"]["train"] == "resumed"
    assert {outcome.object["stages"][stage] for stage in STAGES[3:]} == {"cached"}
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == uninterrupted
    assert workspace.registered() == {"own": [1]}


def test_worse_candidate_is_rejected_and_one_as_good_is_inconclusive(workspace: Workspace, case: Case) -> None:
    for number, decision, changes in (
        (2, "reject", ("train.max_steps=2",)),
        (3, "inconclusive", ("train.seed=1", "gate.max_regression=0", "gate.confidence=0.999")),
    ):
        outcome = workspace.run(*RUN, *(word for change in changes for word in ("--set", change)), "--json")
        assert outcome.code == 3, outcome.stderr
        assert (outcome.object["verdict"], outcome.object["version"]) == (decision, number)
        verdict = workspace.done("why", "own", str(number))
        assert (verdict["decision"], verdict["baseline"], verdict["production"]) == (decision, 1, 1)
        (gain,) = (each for each in verdict["checks"] if each["name"] == f"the gain in {case.metric} over version 1")
        low, high = map(float, re.search(r"\[(\S+), (\S+)\]", gain["observed"]).groups())
        assert not gain["passed"]
        assert high < 0 if decision == "reject" else low <= 0 <= high
    assert workspace.production("own") == 1


def test_serve_and_plain_mlflow_answer_as_the_evaluation_did(workspace: Workspace, case: Case, tmp_path: Path) -> None:
    scored = pa.parquet.read_table(workspace.stage_folder("score") / "predictions.parquet").slice(0, 3)
    rows = dataset_format.read(workspace.root / "data" / "rows", [case.modality]).take(scored["row"])
    contents = rows[case.modality].to_pylist()
    asked = [each if case.modality == "text" else base64.b64encode(each).decode() for each in contents]
    with workspace.running("serve", "own", "--port", "0", "--json") as server:
        text = ""
        while not text.endswith("}\n"):
            line = server.process.stdout.readline()
            assert line, server.finish()
            text += line
        body = json.dumps({"inputs": asked}).encode()
        request = urllib.request.Request(json.loads(text)["address"], body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            served = json.load(response)["predictions"]
    program = (
        "import json, sys, mlflow.pyfunc\n"
        "answers = mlflow.pyfunc.load_model('models:/own@production').predict(json.loads(sys.argv[1]))\n"
        "print(json.dumps(answers.to_dict(orient='records')))"
    )
    command = [sys.executable, "-P", "-c", program, json.dumps(asked)]
    environment = {**workspace.environment, "MLFLOW_TRACKING_URI": workspace.project.tracking_uri}
    plain = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(plain.stdout.splitlines()[-1]) == served
    if case.column == "number":
        assert [each["value"] for each in served] == pytest.approx(scored["predicted"].to_pylist(), abs=1e-3)
    else:
        names = np.array(sorted(GROUPS))
        assert [each["labels"] for each in served] == [
            names[np.array(row) > 0].tolist() for row in scored["predicted"].to_pylist()
        ]


def test_rebuild_makes_an_equal_version(workspace: Workspace) -> None:
    found = workspace.done("rebuild", "own")
    assert found["identical"] is True
    assert found["tensors"]["compared"] >= 6

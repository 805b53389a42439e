"""Regression and multilabel go through every stage and command, with a table of texts and with a table of images."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from pipelines.clones import make_clone, running_from
from ruamel.yaml import YAML

from modelworks.data import dataset_format
from modelworks.pipeline.plan import STAGES

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

ROWS = 400
GROUPS = {
    "animal": ("fox", "owl", "cat", "bee", "ant"),
    "colour": ("red", "blue", "green", "pink", "grey"),
    "food": ("fig", "pea", "egg", "rice", "plum"),
}
OTHERS = ("the", "and", "then", "near", "with", "over", "some", "this")
MODELS = {
    "text": "{kind: transformer, vocabulary: 400, max_tokens: 24, width: 32, layers: 1, heads: 2, dropout: 0}",
    "image": "{kind: cnn, hidden: 16}",
}
CONFIG = """
name: own
source: {kind: table, path: rows/rows.csv, %(modality)s: content, %(column)s: target}
objective: {kind: %(objective)s}
model: %(model)s
train: {epochs: 15, batch_size: 16, learning_rate: 0.01}
compute: {threads: 1}
evaluate: {resamples: 200}
gate: %(gate)s
"""


@dataclass(frozen=True)
class Case:
    """One combination of an objective and a modality."""

    objective: str
    modality: str
    column: str
    """The field of the source that names the target's column."""
    metric: str
    gate: str

    def write(self, root: Path) -> None:
        """The table and the config; images are files beside the table."""
        folder = root / "rows"
        folder.mkdir()
        draw, lines = random.Random(0), ["content,target"]
        for number in range(ROWS):
            counts = {name: draw.choice((0, 0, 1, 2)) for name in GROUPS}
            names = [name for name, count in counts.items() if count and draw.random() < 0.97]  # some are forgotten
            if self.modality == "text":
                content, value = sentence(counts, draw), float(sum(counts.values()))
            else:
                content, pixels = f"{number}.png", picture(counts, draw)
                Image.fromarray(pixels).save(folder / content)
                value = float(pixels.mean()) / 10
            lines.append(f"{content},{value if self.column == 'number' else '|'.join(names)}")
        (folder / "rows.csv").write_text("\n".join([*lines, ""]))
        (root / "configs" / "own.yaml").write_text(CONFIG % {**vars(self), "model": MODELS[self.modality]})


def sentence(counts: Mapping[str, int], draw: random.Random) -> str:
    """Ten words, so many of them from each group."""
    words = [draw.choice(GROUPS[name]) for name, count in counts.items() for _ in range(count)]
    words += draw.choices(OTHERS, k=10 - len(words))
    draw.shuffle(words)
    return " ".join(words)


def picture(counts: Mapping[str, int], draw: random.Random) -> np.ndarray:
    """uint8 (12, 12, 3): noise in which a channel is the brighter, the more its group counts."""
    levels = [40.0 + 80 * count for count in counts.values()]
    noise = np.random.default_rng(draw.getrandbits(32)).normal(0, 12, size=(12, 12, 3))
    return np.clip(levels + noise, 0, 255).astype(np.uint8)


pytestmark = pytest.mark.slow

NUMBER = ("number", "mae", "{maximums: {mae: 5}, max_regression: 0.1}")
LABELS = ("labels", "micro_f1", "{minimums: {micro_f1: 0.3}, max_regression: 0.02}")
CASES = [
    pytest.param(Case("regression", "text", *NUMBER), id="regression-text"),
    pytest.param(Case("regression", "image", *NUMBER), id="regression-image"),
    pytest.param(Case("multilabel", "text", *LABELS), id="multilabel-text"),
    pytest.param(Case("multilabel", "image", *LABELS), id="multilabel-image"),
]
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


def test_the_run_keeps_the_config_that_print_config_prints(
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

"""Changes to a project during a run."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.projects import PIPELINES, FaultWorkspace
from pipelines.commands import DEADLINE, Outcome

import modelworks
from modelworks.config import run_config as configuration
from modelworks.data.ingest import ingest
from modelworks.registry.backend.tracking_store import connect
from modelworks.registry.versions.queries import registered
from modelworks.training.monitoring.events import all_events

SOURCE = Path(modelworks.__file__).parent

PAUSE = """
import os, sys, time

trace, place, go = {!r}
inside = False

def pause(event, arguments):
    global inside
    if inside or event != "open" or arguments[0] != trace or not os.path.exists(trace):
        return
    inside = True
    with open(trace) as passed:
        held = passed.read().splitlines()[-1:] == [place]
    while held and not os.path.exists(go):
        time.sleep(0.01)
    inside = False

sys.addaudithook(pause)
"""
"""Makes a run pause after a fault point until the file `go` exists."""


def run_with_a_pause(workspace: FaultWorkspace, folder: Path, place: str, meanwhile: Callable[[], object]) -> Outcome:
    """Run, pause after the fault point, call `meanwhile`, and continue."""
    trace, go, started = folder / "trace", folder / "go", time.monotonic()
    (folder / "sitecustomize.py").write_text(PAUSE.format((str(trace), place, str(go))))
    workspace.environment["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    with workspace.running(trace=trace) as process:
        while not (trace.exists() and trace.read_text().splitlines()[-1:] == [place]):
            assert process.poll() is None, "it ended before"
            time.sleep(0.01)  # between checks for the fault point
        meanwhile()
        go.touch()
        stdout, stderr = process.communicate(timeout=DEADLINE)
    return Outcome(process.returncode, stdout, stderr, time.monotonic() - started)


def one_more(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"opinion": "good", "words": "a row that was not there before, the very first"}, *rows]


def a_few(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return rows[:20]


def of_other_classes(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "opinion": row["opinion"].replace("good", "great")} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "change", "untouched"),
    [
        ("ingest.after_remember", one_more, "validate"),
        ("stage.before[train]", of_other_classes, "train"),
        ("stage.after[train]", one_more, "score"),
        ("stage.after[train]", a_few, "score"),
    ],
)
def test_data_replaced_during_a_run_stop_the_run(
    place: str,
    change: Callable[[list[dict[str, str]]], list[dict[str, str]]],
    untouched: str,
    server_url: str,
    tmp_path: Path,
) -> None:
    workspace = FaultWorkspace(tmp_path, PIPELINES["transformer"], server_url)
    workspace.clear()
    project, source = (
        workspace.project,
        configuration.load(workspace.root / workspace.pipeline.config, []).source,
    )

    def bring_other_data() -> None:
        path = workspace.root / "opinions.jsonl"
        rows = change([json.loads(line) for line in path.read_text().splitlines()])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert ingest(project, source)[1] == "ran"

    outcome = run_with_a_pause(workspace, tmp_path, place, bring_other_data)
    assert outcome.code == 4, outcome.stderr
    assert "data/opinions" in outcome.stderr
    assert not list((project.stages / untouched).glob("[!.]*"))
    events = [event for path in project.state.glob("training/*/events.jsonl") for event in all_events(path)]
    assert len([event for event in events if event["type"] == "failed"]) == (untouched == "train"), (
        "the training was repeated"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("done", "module", "kept"),
    [
        ("validate", "models.transformer", (0, 0, "")),
        ("train", "evaluation.inference", (0, 0, "")),
        ("score", "registry.packaging.pyfunc_model", (1, 0, "")),
        ("register", "evaluation.statistics.paired_comparison", (1, 1, "")),
    ],
)
def test_code_edited_during_a_run_stops_the_run(
    done: str, module: str, kept: tuple[int, int, str], server_url: str, tmp_path: Path
) -> None:
    workspace = FaultWorkspace(tmp_path, PIPELINES["transformer"], server_url)
    workspace.clear()
    shutil.copytree(SOURCE, tmp_path / "modelworks", ignore=shutil.ignore_patterns("__pycache__"))
    edited = tmp_path.joinpath("modelworks", *module.split(".")).with_suffix(".py")

    outcome = run_with_a_pause(
        workspace,
        tmp_path,
        f"stage.after[{done}]",
        lambda: edited.write_text(f"{edited.read_text()}\nEDITED = True\n"),
    )
    assert outcome.code == 2, outcome.stderr
    assert f"the source of modelworks.{module} was changed since this run began" in outcome.stderr
    evaluations = list((workspace.project.stages / "score").glob("[!.]*"))
    found = [registered(each) for each in connect(workspace.project).search_model_versions("name = 'opinions'")]
    assert (len(evaluations), len(found), "".join(each.decision for each in found)) == kept

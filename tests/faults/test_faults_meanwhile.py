"""What others do to a project while a run is at work in it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import DEADLINE, Outcome
from faults.projects import PIPELINES, Ground

from modelworks import config as configuration
from modelworks.data.ingest import ingest

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
"""Put before a run: having passed a place it waits at the next one, until there is a file that says go."""


def run_with_a_pause(ground: Ground, folder: Path, place: str, meanwhile: Callable[[], object]) -> Outcome:
    """A run that passes that place and goes on when `meanwhile` is done."""
    trace, go, started = folder / "trace", folder / "go", time.monotonic()
    (folder / "sitecustomize.py").write_text(PAUSE.format((str(trace), place, str(go))))
    ground.environment["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    with ground.running(trace=trace) as process:
        while not (trace.exists() and trace.read_text().splitlines()[-1:] == [place]):
            assert process.poll() is None, "it ended before"
            time.sleep(0.01)  # between looks; what is waited for is the place
        meanwhile()
        go.touch()
        stdout, stderr = process.communicate(timeout=DEADLINE)
    return Outcome(process.returncode, stdout, stderr, time.monotonic() - started)


@pytest.mark.parametrize(
    ("place", "untouched"), [("stage.after[train]", "evaluate"), ("ingest.after_remember", "validate")]
)
def test_data_that_another_run_replaces_meanwhile_are_not_taken_for_those_of_this_run(
    place: str, untouched: str, server_url: str, tmp_path: Path
) -> None:
    ground = Ground(tmp_path, PIPELINES["transformer"], server_url)
    ground.clear()
    project, source = ground.project, configuration.load(ground.root / ground.pipeline.config, []).source

    def bring_other_data() -> None:
        rows = (ground.root / "opinions.jsonl").read_text()
        first = json.dumps({"opinion": "good", "words": "a row that was not there before, the very first"})
        (ground.root / "opinions.jsonl").write_text(f"{first}\n{rows}")
        assert ingest(project, source)[1] == "ran"

    outcome = run_with_a_pause(ground, tmp_path, place, bring_other_data)
    assert outcome.code == 4, outcome.stderr
    assert "data/opinions is no longer the version that this run began with" in outcome.stderr
    assert not list((project.stages / untouched).glob("[!.]*"))

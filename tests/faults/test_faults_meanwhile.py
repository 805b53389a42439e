"""What others do to a project while a run is at work in it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from commands import DEADLINE
from faults.projects import PIPELINES, Ground

from modelworks import config as configuration
from modelworks.data.ingest import ingest


def hold_after(trace: Path, place: str) -> None:
    """Let a run pass the places up to that one; it waits at the next until the trace is read again.

    Its trace is a pipe, which a writer can only open when somebody reads.
    """
    seen = ""
    while place not in seen.splitlines():
        with trace.open() as stream:
            seen += stream.readline()


def let_go(trace: Path) -> None:
    """Read the trace to its end, beside whatever comes."""

    def drain() -> None:
        while trace.exists():
            with trace.open() as stream:
                stream.read()

    threading.Thread(target=drain, daemon=True).start()


@pytest.mark.parametrize(
    ("place", "untouched"), [("stage.after[train]", "evaluate"), ("ingest.after_remember", "validate")]
)
def test_data_that_another_run_replaces_meanwhile_are_not_taken_for_those_of_this_run(
    place: str, untouched: str, server_url: str, tmp_path: Path
) -> None:
    ground = Ground(tmp_path, PIPELINES["transformer"], server_url)
    ground.clear()
    trace, project = tmp_path / "trace", ground.project
    os.mkfifo(trace)
    source = configuration.load(ground.root / ground.pipeline.config, []).source
    with ground.running(trace=trace) as process:
        hold_after(trace, place)
        rows = (ground.root / "opinions.jsonl").read_text()
        first = json.dumps({"opinion": "good", "words": "a row that was not there before, the very first"})
        (ground.root / "opinions.jsonl").write_text(f"{first}\n{rows}")
        assert ingest(project, source)[1] == "ran"
        let_go(trace)
        _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 4, stderr
    assert "data/opinions is no longer the version that this run began with" in stderr
    assert not list((project.stages / untouched).glob("[!.]*"))

    trace.unlink()
    assert ground.run().code == 0

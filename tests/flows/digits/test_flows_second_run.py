"""A second run does nothing, starts no server, and prints its summary."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelworks.pipeline.plan import STAGES

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"


def test_second_run_does_nothing_and_starts_no_server(finished: Workspace, summary: dict[str, Any]) -> None:
    prefect = finished.root / ".modelworks" / "prefect"
    before = {path: path.stat().st_mtime_ns for path in prefect.rglob("*")}
    runs = [run.info.run_id for run in finished.runs("digits-cnn")]

    outcome = finished.run("run", DIGITS, "--json")

    assert outcome.code == 0
    assert "nothing to do" in outcome.stderr
    again = outcome.object
    assert again["stages"] == {"ingest": "verified", **dict.fromkeys(STAGES[1:], "cached")}
    assert again["prefect_flow_run_id"] is None
    varying = ("stages", "prefect_flow_run_id", "seconds")
    assert list(again) == list(summary)
    assert all(again[key] == summary[key] for key in summary if key not in varying)
    assert {path: path.stat().st_mtime_ns for path in prefect.rglob("*")} == before
    assert [run.info.run_id for run in finished.runs("digits-cnn")] == runs
    assert finished.registered() == {"digits-cnn": [1]}


def test_second_run_without_json_prints_a_text_summary(finished: Workspace) -> None:
    outcome = finished.run("run", DIGITS)
    assert outcome.code == 0
    lines = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines() if line[:1].strip())
    assert lines["verdict"] == "promote"
    assert lines["registered"] == "digits-cnn version 1"
    assert lines["production"] == "version 1"
    assert lines["MLflow"].startswith("http://127.0.0.1:5000/#/experiments/1/runs/")
    assert "\x1b" not in outcome.stdout + outcome.stderr


def test_summary_on_a_terminal_is_a_panel(finished: Workspace) -> None:
    on_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    outcome = replace(finished, prefix=(sys.executable, "-c", on_terminal)).run("run", DIGITS)
    assert outcome.code == 0
    assert "╭─ \x1b[1mdigits-cnn\x1b[0m ─" in outcome.stdout
    assert "promote" in outcome.stdout

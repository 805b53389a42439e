"""The digits from nothing to production, and what a person can look at afterwards."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelworks.pipeline.plan import STAGES
from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

if TYPE_CHECKING:
    from conftest import Workspace
    from mlflow.entities import Run

DIGITS = "configs/digits_cnn.yaml"


@pytest.fixture(scope="session")
def summary(digits: Path) -> dict[str, Any]:
    """The JSON object of the first run."""
    return json.loads(digits.with_name("made.json").read_text())["summary"]


@pytest.fixture
def finished(copy: Callable[[Path], Workspace], digits: Path) -> Workspace:
    """The project after that run; no Prefect server is running."""
    return copy(digits)


@pytest.fixture
def run(finished: Workspace, summary: dict[str, Any]) -> Run:
    """Its MLflow run."""
    return finished.client.get_run(summary["mlflow_run_id"])


def test_the_summary_has_the_promised_keys(summary: dict[str, Any]) -> None:
    assert list(summary) == [
        "model",
        "version",
        "verdict",
        "reasons",
        "remarks",
        "production",
        "metrics",
        "data",
        "data_version",
        "rows",
        "quarantined",
        "warnings",
        "checks",
        "hardware",
        "mlflow_run_id",
        "mlflow_experiment_id",
        "prefect_flow_run_id",
        "stages",
        "seconds",
    ]


def test_a_first_run_does_every_stage_and_ends_in_production(summary: dict[str, Any]) -> None:
    assert summary["stages"] == dict.fromkeys(STAGES, "ran")
    assert (summary["model"], summary["version"], summary["production"]) == ("digits-cnn", 1, 1)
    assert summary["verdict"] == "promote"
    assert all(summary["checks"].values())
    assert sum(summary["rows"].values()) + summary["quarantined"] == 1797
    accuracy = summary["metrics"]["accuracy"]
    assert 0.9 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1


def test_the_data_version_is_what_dvc_pins(finished: Workspace, summary: dict[str, Any]) -> None:
    from modelworks.data.dvc_storage import object_cache

    assert summary["data_version"] == object_cache.listing_digest(
        object_cache.subtree(finished.root / "data" / "digits")
    )
    assert (
        object_cache.listing_digest(object_cache.subtree(finished.root / "data"))
        in (finished.root / "data.dvc").read_text()
    )


def test_the_run_in_mlflow_shows_the_config_as_parameters(run: Run) -> None:
    assert run.info.status == "FINISHED"
    expected = {"train.epochs": "6", "model.kind": "cnn", "gate.minimums.accuracy": "0.9", "source.kind": "digits"}
    assert expected.items() <= run.data.params.items()
    assert {"compute.device", "compute.precision", "compute.threads"} <= run.data.params.keys()


def test_the_precision_and_what_decided_it_are_shown_and_recorded(run: Run, summary: dict[str, Any]) -> None:
    hardware = summary["hardware"]
    assert hardware["precision"] == run.data.params["compute.precision"] == run.data.tags["modelworks.precision"]
    source = hardware["precision_source"]
    assert source == run.data.params["compute.precision_source"] == run.data.tags["modelworks.precision_source"]
    assert (source == "measurement") == bool(hardware["product_rates"]) == ("modelworks.product_rates" in run.data.tags)


def test_the_run_in_mlflow_has_curves_figures_and_system_metrics(
    finished: Workspace, run: Run, summary: dict[str, Any]
) -> None:
    curve = finished.client.get_metric_history(run.info.run_id, "epoch/validation_loss")
    assert len(curve) == 6
    assert curve[-1].value < curve[0].value
    steps = finished.client.get_metric_history(run.info.run_id, "training/loss")
    assert [point.step for point in steps] == sorted({point.step for point in steps})
    for name, interval in summary["metrics"].items():
        assert run.data.metrics[name] == pytest.approx(interval["value"])
        assert run.data.metrics[f"{name}_low"] == pytest.approx(interval["low"])
    assert run.data.metrics["rows/train"] == summary["rows"]["train"]
    assert any(name.startswith("system/cpu") for name in run.data.metrics)


def test_the_run_in_mlflow_names_the_data_it_stands_on(run: Run, summary: dict[str, Any]) -> None:
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", summary["data_version"])
    assert json.loads(used.dataset.source)["kind"] == "digits"
    assert json.loads(used.dataset.profile)["rows"] == 1797


def test_the_run_in_mlflow_holds_data_docs_and_the_evaluation(finished: Workspace, run: Run, tmp_path: Path) -> None:
    folder = Path(finished.client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert "<html" in (folder / "validation" / "data_docs" / "index.html").read_text().lower()
    for picture in ("confusion_matrix.png", "worst_mistakes.png", "calibration.png"):
        assert (folder / "evaluation" / picture).read_bytes().startswith(b"\x89PNG")
    per_class = (folder / "evaluation" / "per_class.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in per_class] == ["class", *"0123456789"]
    checks = [line[0] for line in json.loads((folder / "validation" / "checks.json").read_text())["data"]]
    assert len(checks) == 13
    assert {"bad rows", "label leakage"} < set(checks)


def test_the_run_in_mlflow_says_the_verdict_and_leads_to_prefect(run: Run, summary: dict[str, Any]) -> None:
    note = run.data.tags["mlflow.note.content"]
    assert "digits-cnn version 1: promote" in note
    assert "Production is version 1" in note
    assert run.data.tags["modelworks.prefect_flow_run_id"] == summary["prefect_flow_run_id"]
    assert summary["prefect_flow_run_id"] in run.data.tags["modelworks.prefect_url"]


def test_the_version_carries_its_evidence(finished: Workspace, summary: dict[str, Any]) -> None:
    tags = finished.client.get_model_version("digits-cnn", "1").tags
    assert tags["modelworks.data_version"] == summary["data_version"]
    assert tags["modelworks.run_id"] == summary["mlflow_run_id"]
    assert tags["modelworks.verdict"] == "promote"
    assert len(tags["modelworks.digest"]) == len(tags["modelworks.pipeline_key"]) == 64


@pytest.fixture
def ask(finished: Workspace) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Questions to a server over the database that the run's own server wrote."""
    server = start_server(Project(finished.root))
    url = server.wait()

    def post(what: str, **filters: Any) -> list[dict[str, Any]]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/{what}/filter", json.dumps(filters).encode(), headers)
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    yield post
    server.stop()


def test_prefect_shows_a_task_per_stage_the_verdict_and_the_way_to_mlflow(
    ask: Callable[..., list[dict[str, Any]]], summary: dict[str, Any]
) -> None:
    (flow_run,) = ask("flow_runs")
    assert flow_run["id"] == summary["prefect_flow_run_id"]
    assert flow_run["state_name"] == "Completed"
    assert flow_run["parameters"]["config"] == DIGITS

    tasks = sorted(ask("task_runs"), key=lambda each: each["start_time"])
    assert [each["name"].rpartition("-")[0] for each in tasks] == list(STAGES)
    assert {each["state_name"] for each in tasks} == {"Completed"}
    assert all("modelworks" in each["tags"] for each in tasks)
    assert all(each["empirical_policy"]["retries"] == 2 for each in tasks)

    artifacts = {each["key"]: each for each in ask("artifacts")}
    verdict, link = artifacts["digits-cnn-verdict"], artifacts["digits-cnn-mlflow"]
    assert verdict["type"] == link["type"] == "markdown"
    assert "digits-cnn version 1: promote" in verdict["data"]
    assert summary["mlflow_run_id"] in link["data"]
    assert {each["flow_run_id"] for each in artifacts.values()} == {flow_run["id"]}


def test_a_second_run_does_nothing_says_so_and_starts_no_server(finished: Workspace, summary: dict[str, Any]) -> None:
    prefect = finished.root / ".modelworks" / "prefect"
    before = {path: path.stat().st_mtime_ns for path in prefect.rglob("*")}
    runs = [run.info.run_id for run in finished.runs("digits-cnn")]

    outcome = finished.run("run", DIGITS, "--json")

    assert outcome.code == 0
    assert "nothing to do" in outcome.stderr
    again = outcome.object
    assert again["stages"] == {"ingest": "verified", **dict.fromkeys(STAGES[1:], "cached")}
    assert again["prefect_flow_run_id"] is None
    changing = ("stages", "prefect_flow_run_id", "seconds")
    assert list(again) == list(summary)
    assert all(again[key] == summary[key] for key in summary if key not in changing)
    assert {path: path.stat().st_mtime_ns for path in prefect.rglob("*")} == before
    assert [run.info.run_id for run in finished.runs("digits-cnn")] == runs
    assert finished.registered() == {"digits-cnn": [1]}


def test_without_json_a_second_run_ends_in_a_readable_summary(finished: Workspace) -> None:
    outcome = finished.run("run", DIGITS)
    assert outcome.code == 0
    lines = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines() if line[:1].strip())
    assert lines["verdict"] == "promote"
    assert lines["registered"] == "digits-cnn version 1"
    assert lines["production"] == "version 1"
    assert lines["MLflow"].startswith("http://127.0.0.1:5000/#/experiments/1/runs/")
    assert "\x1b" not in outcome.stdout + outcome.stderr


def test_on_a_terminal_the_summary_is_a_panel(finished: Workspace) -> None:
    on_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    outcome = replace(finished, prefix=(sys.executable, "-c", on_terminal)).run("run", DIGITS)
    assert outcome.code == 0
    assert "╭─ \x1b[1mdigits-cnn\x1b[0m ─" in outcome.stdout
    assert "promote" in outcome.stdout

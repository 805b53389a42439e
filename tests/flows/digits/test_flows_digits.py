"""A first run of the digits to production, and its records in MLflow and Prefect."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from modelworks.pipeline.plan import STAGES

if TYPE_CHECKING:
    from mlflow.entities import Run
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"


def test_summary_has_the_documented_keys(summary: dict[str, Any]) -> None:
    assert list(summary) == [
        "model",
        "version",
        "verdict",
        "reasons",
        "remarks",
        "production",
        "metrics",
        "baseline",
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


def test_first_run_runs_every_stage_and_promotes(summary: dict[str, Any]) -> None:
    assert summary["stages"] == dict.fromkeys(STAGES, "ran")
    assert (summary["model"], summary["version"], summary["production"]) == ("digits-cnn", 1, 1)
    assert summary["verdict"] == "promote"
    assert all(summary["checks"].values())
    assert sum(summary["rows"].values()) + summary["quarantined"] == 1797
    accuracy = summary["metrics"]["accuracy"]
    assert 0.9 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1


def test_data_version_is_pinned_by_dvc(finished: Workspace, summary: dict[str, Any]) -> None:
    from modelworks.data.dvc_storage import object_cache

    assert summary["data_version"] == object_cache.listing_digest(
        object_cache.subtree(finished.root / "data" / "digits")
    )
    assert (
        object_cache.listing_digest(object_cache.subtree(finished.root / "data"))
        in (finished.root / "data.dvc").read_text()
    )


def test_mlflow_run_has_the_config_as_parameters(run: Run) -> None:
    assert run.info.status == "FINISHED"
    expected = {"train.epochs": "6", "model.kind": "cnn", "gate.minimums.accuracy": "0.9", "source.kind": "digits"}
    assert expected.items() <= run.data.params.items()
    assert {"compute.device", "compute.precision", "compute.threads"} <= run.data.params.keys()


def test_precision_and_its_source_are_recorded(run: Run, summary: dict[str, Any]) -> None:
    hardware = summary["hardware"]
    assert run.data.params["compute.precision"] == "auto", "the config's value; a tag has the selected precision"
    assert hardware["precision"] == run.data.tags["modelworks.precision"]
    source = hardware["precision_source"]
    assert source == run.data.tags["modelworks.precision_source"]
    assert (source == "measurement") == bool(hardware["product_rates"]) == ("modelworks.product_rates" in run.data.tags)


def test_mlflow_run_has_curves_and_metrics(finished: Workspace, run: Run, summary: dict[str, Any]) -> None:
    curve = finished.client.get_metric_history(run.info.run_id, "epoch/validation_loss")
    assert len(curve) == 6
    assert curve[-1].value < curve[0].value
    steps = finished.client.get_metric_history(run.info.run_id, "training/loss")
    assert [point.step for point in steps] == sorted({point.step for point in steps})
    for name, interval in summary["metrics"].items():
        assert run.data.metrics[name] == pytest.approx(interval["value"])
        assert run.data.metrics[f"{name}_low"] == pytest.approx(interval["low"])
    assert run.data.metrics["rows/train"] == summary["rows"]["train"]


def test_mlflow_run_has_its_data_set_as_input(run: Run, summary: dict[str, Any]) -> None:
    assert run.info.run_name == "digits-cnn v1"
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", summary["data_version"])
    assert json.loads(used.dataset.source)["kind"] == "digits"
    assert json.loads(used.dataset.profile)["rows"] == 1797


def test_mlflow_run_has_data_docs_and_evaluation_as_artifacts(finished: Workspace, run: Run, tmp_path: Path) -> None:
    folder = Path(finished.client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert "<html" in (folder / "validation" / "data_docs" / "index.html").read_text().lower()
    for picture in ("confusion_matrix.png", "worst_mistakes.png", "calibration.png"):
        assert (folder / "evaluation" / picture).read_bytes().startswith(b"\x89PNG")
    per_class = (folder / "evaluation" / "per_class.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in per_class] == ["class", *"0123456789"]
    checks = [line[0] for line in json.loads((folder / "validation" / "checks.json").read_text())["data"]]
    assert len(checks) == 13
    assert {"bad rows", "label leakage"} < set(checks)


def test_mlflow_run_has_the_verdict_and_a_link_to_prefect(run: Run, summary: dict[str, Any]) -> None:
    note = run.data.tags["mlflow.note.content"]
    assert "digits-cnn version 1: promote" in note
    assert "Production is version 1" in note
    assert run.data.tags["modelworks.prefect_flow_run_id"] == summary["prefect_flow_run_id"]
    assert summary["prefect_flow_run_id"] in run.data.tags["modelworks.prefect_url"]


def test_version_has_its_evidence_as_tags(finished: Workspace, summary: dict[str, Any]) -> None:
    tags = finished.client.get_model_version("digits-cnn", "1").tags
    assert tags["modelworks.data_version"] == summary["data_version"]
    assert tags["modelworks.run_id"] == summary["mlflow_run_id"]
    assert tags["modelworks.verdict"] == "promote"
    assert len(tags["modelworks.digest"]) == len(tags["modelworks.pipeline_key"]) == 64


@pytest.fixture
def query(server: str) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that queries the server."""

    def post(what: str, **filters: Any) -> list[dict[str, Any]]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server}/{what}/filter", json.dumps(filters).encode(), headers)
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    return post


def test_prefect_has_a_task_per_stage_and_artifacts_with_verdict_and_mlflow_link(
    query: Callable[..., list[dict[str, Any]]], summary: dict[str, Any]
) -> None:
    (flow_run,) = query("flow_runs")
    assert flow_run["id"] == summary["prefect_flow_run_id"]
    assert flow_run["state_name"] == "Completed"
    assert flow_run["parameters"]["config"] == DIGITS

    tasks = sorted(query("task_runs"), key=lambda each: each["start_time"])
    assert [each["name"].rpartition("-")[0] for each in tasks] == list(STAGES)
    assert {each["state_name"] for each in tasks} == {"Completed"}
    assert not any(each["tags"] for each in tasks), "Prefect asks for a concurrency slot of every tag"
    assert all(each["empirical_policy"]["retries"] == 2 for each in tasks)

    artifacts = {each["key"]: each for each in query("artifacts")}
    verdict, link = artifacts["digits-cnn-verdict"], artifacts["digits-cnn-mlflow"]
    assert verdict["type"] == link["type"] == "markdown"
    assert "digits-cnn version 1: promote" in verdict["data"]
    assert summary["mlflow_run_id"] in link["data"]
    assert {each["flow_run_id"] for each in artifacts.values()} == {flow_run["id"]}


def test_flow_run_is_named_after_its_model_and_logs_the_display(
    server: str, summary: dict[str, Any], digits: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.settings import PREFECT_API_URL, temporary_settings

    flow_run_id = UUID(summary["prefect_flow_run_id"])
    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run_id)
        log_filter = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
        logged = [each.message for each in client.read_logs(log_filter)]
    assert run.expected_start_time is not None
    assert run.name == f"digits-cnn {run.expected_start_time.astimezone():%Y-%m-%d %H:%M}"
    stderr = json.loads(digits.with_name("made.json").read_text())["stderr"]
    shown = [line[9:] for line in stderr.splitlines() if line[:7].strip().replace(".", "").isdigit()]
    stages = [line for line in shown if line.split()[:2][-1:] == ["ran"]]
    assert [line.split()[0] for line in stages] == list(STAGES)
    assert set(stages) <= set(logged)
    assert any(line.startswith("  epoch 6/6  validation loss ") for line in logged)

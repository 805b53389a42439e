from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow.data
import pytest

from modelworks.project import Project
from modelworks.records import Evaluation, ModelVersion, Verdict
from modelworks.registry.tracking import dataset_input, runs, tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

Begin = Callable[[], str]


def test_run_has_parameters_owner_and_prefect_url(client: MlflowClient, project: Project) -> None:
    run_id = runs.start(
        client,
        project,
        experiment="small",
        parameters={"train.epochs": "3", "checks.expect": "x" * 10_000, **{f"many.{n}": "1" for n in range(150)}},
        prefect_flow_run_id="flow-id",
        prefect_url="http://127.0.0.1:4200/runs/flow-run/flow-id",
    )
    data = client.get_run(run_id).data
    assert data.params["train.epochs"] == "3"
    assert data.params["checks.expect"] == "x" * 5997 + "..."
    assert len(data.params) == 152
    assert data.tags["modelworks.pipeline"] == "small"
    assert data.tags["modelworks.prefect_flow_run_id"] == "flow-id"
    assert data.tags["modelworks.prefect_url"].endswith("/runs/flow-run/flow-id")
    owner = tags.owner_of(data.tags)
    assert owner is not None
    assert owner.is_here
    assert not owner.is_dead


def test_commit_is_tagged_if_there_is_one(client: MlflowClient, project: Project, begin: Begin) -> None:
    assert "modelworks.git_commit" not in client.get_run(begin()).data.tags
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        (project.root / "file").write_text("1")
        subprocess.run(["git", "-C", project.root, *arguments], check=True)
    commit = client.get_run(begin()).data.tags["modelworks.git_commit"]
    (project.root / "file").write_text("2")
    tags = client.get_run(begin()).data.tags
    assert tags["modelworks.git_commit"] == f"{commit.removesuffix(' with changes')} with changes"
    assert len(tags["mlflow.source.git.commit"]) == 40


def test_dataset_is_logged_as_an_input(client: MlflowClient, begin: Begin, evaluate: Callable[..., Evaluation]) -> None:
    dataset, run_id = evaluate().trained.report.dataset, begin()
    dataset_input.log_dataset(client, run_id, dataset)
    run = client.get_run(run_id)
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == (dataset.name, dataset.digest)
    assert json.loads(logged.dataset.profile)["targets"] == {
        "label": {"kind": "label", "classes": ["bright", "dark", "grey"], "num_classes": 3}
    }
    assert {each["name"]: each["type"] for each in json.loads(logged.dataset.schema)["mlflow_colspec"]} == {
        "id": "string",
        "image": "binary",
        "label": "string",
    }
    assert (Path(mlflow.data.get_source(logged).load()) / "examples.parquet").is_file()
    assert run.data.tags["modelworks.data_version"] == dataset.digest


def test_validation_checks_are_logged_as_a_table(
    client: MlflowClient, begin: Begin, evaluate: Callable[..., Evaluation]
) -> None:
    report, run_id = evaluate().trained.report, begin()
    runs.log_validation(client, run_id, report)
    table = json.loads(Path(client.download_artifacts(run_id, "validation/checks.json")).read_text())
    assert table == {
        "columns": ["check", "passed", "observed", "required"],
        "data": [["rows", "yes", "60", "at least 20"]],
    }
    metrics = client.get_run(run_id).data.metrics
    assert (metrics["rows/test"], metrics["rows/quarantined"]) == (40, 1)


@pytest.mark.parametrize(("name", "place"), [("data_docs", "validation/data_docs"), ("evaluation_page", "evaluation")])
def test_report_page_is_uploaded_to_its_run(
    client: MlflowClient, begin: Begin, tmp_path: Path, name: str, place: str
) -> None:
    run_id, folder = begin(), tmp_path / "page"
    folder.mkdir()
    (folder / "page.html").write_text("<h1>Page</h1>")
    runs.log_report(client, run_id, name, folder)
    assert Path(client.download_artifacts(run_id, f"{place}/page.html")).read_text() == "<h1>Page</h1>"


def test_metrics_are_logged_with_their_intervals(
    client: MlflowClient, begin: Begin, evaluate: Callable[..., Evaluation]
) -> None:
    evaluation, run_id = replace(evaluate(), baseline={"accuracy": 0.5}), begin()
    runs.log_training(client, run_id, evaluation.trained)
    runs.log_evaluation(client, run_id, evaluation)
    data = client.get_run(run_id).data
    assert [data.metrics[name] for name in ("accuracy", "accuracy_low", "accuracy_high")] == [0.91, 0.85, 0.95]
    assert data.metrics["baseline_accuracy"] == 0.5
    assert data.metrics["training/parameters"] == 1234
    assert data.tags["modelworks.device"] == "cpu"


@pytest.mark.parametrize("production", [0, 7])
def test_description_has_verdict_metrics_data_and_production(
    client: MlflowClient,
    begin: Begin,
    register: Callable[..., ModelVersion],
    judge: Callable[..., Verdict],
    production: int,
) -> None:
    run_id, verdict = begin(), judge(register(), "reject")
    runs.log_note(client, run_id, verdict, production)
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    for part in (
        "small version 1: reject",
        "| accuracy | 0.9100 | 0.8500 to 0.9500 (95%) | 0.4000 |",
        "**failed**",
        ".dir`",
    ):
        assert part in note
    assert ("Production is version 7" if production else "Production is not set") in note


def test_stage_keys_are_tags_and_finish_sets_the_status(client: MlflowClient, begin: Begin) -> None:
    run_id = begin()
    runs.log_stage_keys(client, run_id, {"train": "abc"})
    runs.finish(client, run_id, "FAILED")
    run = client.get_run(run_id)
    assert run.data.tags["modelworks.stage.train"] == "abc"
    assert run.info.status == "FAILED"


def test_system_metrics_are_logged_to_the_run(client: MlflowClient, begin: Begin) -> None:
    import threading

    run_id = begin()
    with runs.system_metrics(client, run_id, seconds=0.1):
        deadline = threading.Event()
        for _ in range(100):
            if "system/cpu_utilization_percentage" in client.get_run(run_id).data.metrics:
                break
            deadline.wait(0.1)
    assert "system/system_memory_usage_percentage" in client.get_run(run_id).data.metrics


def test_user_text_in_a_run_description_is_kept(client: MlflowClient, begin: Callable[[], str]) -> None:
    run = begin()
    client.set_tag(run, "mlflow.note.content", "Ann: the one with more data\n")
    for _ in range(2):  # a stage may be retried
        runs.add_note(client, run, "Ours")
    assert client.get_run(run).data.tags["mlflow.note.content"] == "Ann: the one with more data\n\nOurs"

"""A training keeps its chosen precision, independent of a new measurement."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from pipelines.commands import REPOSITORY
from samples.makings import PROVENANCE
from samples.plans import store_output

from modelworks.config import run_config as configuration
from modelworks.config.run_config import RunConfig
from modelworks.data import dataset_format
from modelworks.data.dvc_storage import object_cache
from modelworks.errors import Interrupted
from modelworks.files.atomic_files import write_json
from modelworks.pipeline.plan import Plan
from modelworks.pipeline.stage_store import StageStore
from modelworks.pipeline.training_job import training_job, work_folder
from modelworks.project import Project
from modelworks.record_json import to_json
from modelworks.records import DatasetVersion, TrainedModel, ValidationReport
from modelworks.reproduce.reproduce import recorded_config
from modelworks.training.launchers.local import launch
from modelworks.training.machine.precision import explained

RATES = {"products_fp32": 160.0, "products_bf16": 480.0, "convolutions_fp32": 100.0, "convolutions_bf16": 260.0}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the home, which has measurements."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def load(*overrides: str) -> RunConfig:
    path = REPOSITORY / "configs" / "digits_cnn.yaml"
    common = ("compute.device=cpu", "compute.threads=1", "train.epochs=3", "train.keep=last", "train.patience=0")
    return configuration.load(path, [*common, *overrides])


@pytest.fixture
def report(digits: Path) -> ValidationReport:
    described = dataset_format.describe(digits)
    dataset = DatasetVersion(
        name="digits",
        folder=digits,
        digest=object_cache.listing_digest(object_cache.subtree(digits)),
        features=described["features"],
        rows=1797,
        source={},
        licence="",
    )
    return ValidationReport(dataset=dataset, key="", folder=digits, checks=(), quarantined=0, warnings=(), rows={})


def train_plan(project: Project, config: RunConfig, report: ValidationReport) -> Plan:
    """Return a plan with the key of `train`."""
    plan = Plan(project, config, report.dataset)
    store_output(plan, "validate")
    plan.stage("train")
    return plan


def planned(project: Project, report: ValidationReport, **choice: Any) -> Plan:
    """Return a plan with bf16 in its key, as for `auto` with fast bf16."""
    plan = train_plan(project, load("compute.precision=bf16"), report)
    plan.hardware = dataclasses.replace(plan.hardware, **choice)
    return plan


@pytest.mark.slow
def test_resume_uses_the_checkpoints_precision_without_a_measurement(
    project: Project, report: ValidationReport, tmp_path: Path
) -> None:
    project.make_private_folders()
    auto, out = load("compute.precision=auto"), tmp_path / "out"
    out.mkdir()
    first = planned(project, report, precision_source="measurement", product_rates=RATES)

    def stop(event: Mapping[str, Any]) -> None:
        if event["type"] == "start":
            (child,) = [each for each in psutil.Process().children() if "modelworks.training" in each.cmdline()]
            child.send_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        launch(training_job(first, report), report, out, out, stop)
    assert not any(folder.exists() for folder in project.product_rates)

    plan = train_plan(project, auto, report)
    assert plan.hardware == first.hardware
    assert plan.stage("train").key == first.stage("train").key
    events: list[dict[str, Any]] = []
    trained = launch(training_job(plan, report), report, out, out, events.append)
    (start,) = [event for event in events if event["type"] == "start"]
    assert start["resumed_from"] > 0
    assert (start["precision"], start["precision_source"]) == ("bf16", "measurement")
    assert start["product_rates"] == trained.product_rates == RATES
    assert trained.precision == "bf16"
    assert not any(folder.exists() for folder in project.product_rates)


def test_finished_training_keeps_its_precision(project: Project, report: ValidationReport) -> None:
    first = planned(project, report)
    trained = TrainedModel(
        report=report,
        key=first.stage("train").key,
        folder=project.root,
        num_parameters=1,
        num_steps=1,
        seconds=1.0,
        examples_per_second=1.0,
        device="cpu",
        precision="bf16",
        threads=1,
        processes=1,
        shard=False,
        precision_source="measurement",
        product_rates=RATES,
    )
    folder = StageStore(project.stages).folder("train", first.stage("train").key)
    folder.mkdir(parents=True)
    write_json(folder / "record.json", to_json(trained, project.root))
    plan = train_plan(project, load("compute.precision=auto"), report)
    assert (plan.hardware.precision, plan.hardware.product_rates) == ("bf16", RATES)
    assert plan.stage("train").key == first.stage("train").key


@pytest.mark.parametrize("damaged", [None, "", "[]", '{"hardware": {"precision": "bf16"'])
def test_configured_precision_and_damaged_file_are_not_recorded_choices(
    project: Project, report: ValidationReport, damaged: str | None
) -> None:
    project.make_private_folders()
    named = planned(project, report)
    job = training_job(named, report)
    job.work.mkdir(parents=True)
    job.write(job.work / "job.json")
    if damaged is not None:
        (job.work / "job.json").write_text(damaged)
    before = train_plan(project, load("compute.precision=auto"), report)
    assert before.hardware.precision_source in ("cpu_flags", "measurement")
    assert before.hardware.product_rates != RATES


def test_key_has_the_precision_and_not_the_rates(project: Project, report: ValidationReport) -> None:
    keys = {
        train_plan(project, load(f"compute.precision={name}"), report).stage("train").key for name in ("fp32", "bf16")
    }
    assert len(keys) == 2
    auto = train_plan(project, load("compute.precision=auto"), report)
    assert auto.stage("train").key in keys
    assert auto.stage("train").ingredients["compute.precision"] == f'"{auto.hardware.precision}"'
    assert not [name for name in auto.stage("train").ingredients if "rates" in name or "precision_source" in name]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rebuild_uses_the_recorded_precision(
    project: Project, report: ValidationReport, tmp_path: Path, precision: str
) -> None:
    config = load("compute.precision=auto")
    sections = config.section(*(item.name for item in dataclasses.fields(config)))
    machine = dataclasses.replace(
        PROVENANCE.machine, precision=precision, precision_source="measurement", product_rates=RATES
    )
    written = recorded_config(dataclasses.replace(PROVENANCE, config=sections, machine=machine))
    write_json(tmp_path / "config.yaml", written)
    plan = train_plan(project, configuration.load(tmp_path / "config.yaml", ()), report)
    assert (plan.hardware.precision, plan.hardware.precision_source) == (precision, "config")
    assert not any(folder.exists() for folder in project.product_rates)
    assert not work_folder(plan).exists()


def test_rates_are_shown_relative_to_fp32() -> None:
    assert explained("measurement", RATES) == (
        "bf16 measured: products 480 GFLOP/s (3.00 of fp32), convolutions 260 GFLOP/s (2.60 of fp32)"
    )
    assert explained("config", {}) == ""

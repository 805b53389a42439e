"""Fixtures: small projects with a saved and scored model, and an MLflow store on SQLite."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import torch
from pipelines.tracking_server import LossyProxy, tracking_server
from samples.datasets import labelled
from samples.makings import PROVENANCE
from samples.verdicts import verdict_of

from modelworks.data import dataset_format
from modelworks.data.sources.base import Examples
from modelworks.data.splits import TEST, TRAIN
from modelworks.evaluation import inference
from modelworks.modalities import image, text
from modelworks.models import cnn, serialization, transformer
from modelworks.objectives import classification
from modelworks.project import Project
from modelworks.records import (
    Check,
    DatasetVersion,
    Evaluation,
    Interval,
    ModelVersion,
    TrainedModel,
    ValidationReport,
    Verdict,
)
from modelworks.registry.backend import tracking_store
from modelworks.registry.tracking import runs
from modelworks.registry.verification.isolated_process import IsolatedModel
from modelworks.registry.versions import registration
from modelworks.settings import QUIET

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.modalities.base import Processor

__all__ = [
    "_quiet",
    "begin",
    "client",
    "empty_store",
    "evaluate",
    "isolated_model",
    "judge",
    "project",
    "proxy",
    "register",
    "server",
]

NAME = "small"


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> None:
    """Set the environment of the project's processes."""
    os.environ.update(QUIET, MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an empty store, which tests copy."""
    folder = tmp_path_factory.mktemp("store")
    tracking_store.connect(Project(folder))
    return folder / "mlflow" / "mlflow.db"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """The URL of a tracking server, shared by a module's tests."""
    with tracking_server(tmp_path_factory.mktemp("server") / "server", empty_store) as (address, _):
        yield address


@pytest.fixture
def proxy(server: str) -> Iterator[LossyProxy]:
    """A proxy in front of the server that can lose, delay or corrupt messages."""
    proxy = LossyProxy(server)
    yield proxy
    proxy.close()


@pytest.fixture
def project(tmp_path: Path, empty_store: Path) -> Project:
    """A project with its own store."""
    project = Project(tmp_path / "project")
    project.mlflow.mkdir(parents=True)
    project.make_private_folders()
    shutil.copyfile(empty_store, project.mlflow / "mlflow.db")
    return project


@pytest.fixture
def client(project: Project) -> MlflowClient:
    return tracking_store.connect(project)


@pytest.fixture(scope="session")
def isolated_model() -> Iterator[IsolatedModel]:
    """An isolated process, shared by all tests."""
    with IsolatedModel() as process:
        yield process


@pytest.fixture
def evaluate(project: Project) -> Callable[..., Evaluation]:
    """Save a model with random weights from a seed and score it on its data set."""

    def make(seed: int = 0, modality: str = "image") -> Evaluation:
        report = _validated(project, modality)
        folder = project.stages / "train" / f"{modality}-{seed}"
        torch.manual_seed(seed)
        contents = dataset_format.read(report.dataset.folder)[modality].to_pylist()
        if modality == "image":
            processor: Processor = image.Processor.fit(contents, {}, {})
            architecture, section = cnn, {"hidden": 4, "dropout": 0.0}
        else:
            processor = text.Processor.fit(contents, {"vocabulary": 64, "max_tokens": 8}, {})
            architecture, section = transformer, {"width": 8, "layers": 1, "heads": 2, "dropout": 0.0}
        serialization.save(
            folder / "model",
            description={
                "kind": architecture.__name__.rpartition(".")[2],
                "modality": modality,
                "architecture": section,
                "shape": processor.shape,
            },
            network=architecture.build(section, processor.shape, len(report.dataset.targets["label"]["classes"])),
            processor=processor,
            objective=classification.Classification({"classes": list(report.dataset.targets["label"]["classes"])}),
            sources=serialization.sources(architecture, sys.modules[type(processor).__module__], classification),
            training_ids=np.zeros(0, dtype=np.uint64),
        )
        trained = TrainedModel(
            report=report,
            key=f"train-{seed}",
            folder=folder,
            num_parameters=1234,
            num_steps=10,
            seconds=1.5,
            examples_per_second=100.0,
            device="cpu",
            precision="fp32",
            threads=2,
            processes=1,
            shard=False,
        )
        stage = project.stages / "score" / f"{modality}-{seed}"
        stage.mkdir(parents=True)
        rows = inference.held_out(report)
        inference.write(inference.score(trained.model_folder, rows), stage)
        return Evaluation(
            trained=trained,
            key=f"score-{seed}",
            folder=stage,
            rows=len(rows.rows),
            metrics={"accuracy": Interval(value=0.91, low=0.85, high=0.95, confidence=0.95)},
            baseline={"accuracy": 0.4},
        )

    return make


@pytest.fixture
def judge() -> Callable[..., Verdict]:
    """Return a function that makes a verdict on a version."""
    return verdict_of


@pytest.fixture
def begin(client: MlflowClient, project: Project) -> Callable[[], str]:
    """Start a run and return its id."""
    return lambda: runs.start(client, project, experiment=NAME, parameters={}, prefect_flow_run_id="", prefect_url="")


@pytest.fixture
def register(
    client: MlflowClient, project: Project, evaluate: Callable[..., Evaluation], begin: Callable[[], str]
) -> Callable[..., ModelVersion]:
    """Register a model with random weights from a seed, and a verdict."""

    def make(seed: int = 0, modality: str = "image", decision: str = "promote") -> ModelVersion:
        evaluation = evaluate(seed, modality)
        version = registration.register(
            client, project, evaluation, provenance=PROVENANCE, name=NAME, key=f"key-{seed}", run_id=begin()
        )
        registration.record_verdict(client, verdict_of(version, decision))
        return version

    return make


def _validated(project: Project, modality: str) -> ValidationReport:
    folder, stage = project.data / modality, project.stages / "validate" / modality
    dataset = DatasetVersion(
        name=modality,
        folder=folder,
        digest="0123456789abcdef0123456789abcdef.dir",
        features=labelled(modality, ("bright", "dark", "grey")),
        rows=60,
        source={"kind": modality, "sha256": "abc"},
        licence="CC0",
    )
    report = ValidationReport(
        dataset=dataset,
        key="validate-key",
        folder=stage,
        checks=(Check(name="rows", passed=True, observed="60", required="at least 20"),),
        quarantined=1,
        warnings=("3 rows repeat others",),
        rows={"train": 20, "validation": 0, "test": 40},
    )
    if folder.is_dir():
        return dataclasses.replace(report)
    folder.mkdir(parents=True)
    stage.mkdir(parents=True)
    (stage / "report.json").write_text("{}")
    draw = np.random.default_rng(0)
    labels = [dataset.targets["label"]["classes"][row % 3] for row in range(60)]
    if modality == "image":
        pixels = draw.integers(0, 256, (60, 8, 8), dtype=np.uint8)
        contents = pa.array([b"P5\n8 8\n255\n" + image.tobytes() for image in pixels], pa.binary())
    else:
        contents = pa.array([f"{label} as number {row}" for row, label in enumerate(labels)])
    columns = {modality: contents, "label": pa.array(labels)}
    dataset_format.write(
        folder, modality, {}, Examples(features=labelled(modality), columns=columns, licence="CC0", source_digest="a")
    )  # type: ignore[arg-type]
    np.save(stage / "splits.npy", np.array([TRAIN] * 20 + [TEST] * 40, dtype=np.int8))
    return report

"""Fixtures for small trainings: images for the loop, and jobs with the digits for the trainer program."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples.trainings import CPU
from torch import nn

from modelworks.data import dataset_format
from modelworks.data.dvc_storage import object_cache
from modelworks.data.sources import Digits
from modelworks.data.splits import TRAIN, VALIDATION, SplitConfig, assign_splits
from modelworks.modalities.image import Processor
from modelworks.models import cnn
from modelworks.models.config import Cnn
from modelworks.objectives import config as objectives
from modelworks.objectives.classification import Classification
from modelworks.preprocessing.preprocessed import PreprocessedDataset
from modelworks.training.checkpoint import Checkpoints
from modelworks.training.config import TrainConfig
from modelworks.training.hardware import Hardware
from modelworks.training.job import Job
from modelworks.training.loop import Stop, Trained, train
from modelworks.training.monitoring.events import EventLog


@pytest.fixture
def pictures() -> PreprocessedDataset:
    """Return bright and dark images of 6x6, some of them for validation."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    pixels = (generator.integers(0, 100, (200, 6, 6, 1)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    spec = {"height": 6, "width": 6, "channels": 1, "mean": [100.0], "std": [60.0]}
    splits = np.where(np.arange(200) < 160, TRAIN, VALIDATION).astype(np.int8)
    ids = np.arange(200, dtype=np.uint64)
    return PreprocessedDataset(
        inputs={"pixels": torch.from_numpy(pixels)},
        targets={"label": labels},
        splits=splits,
        ids=ids,
        processor=Processor(spec),
        objective=Classification({"classes": ["0", "1"]}),
    )


@pytest.fixture
def fit(pictures: PreprocessedDataset, tmp_path: Path) -> Iterator[Callable[..., tuple[nn.Module, Trained]]]:
    """`fit(folder, **settings)` trains a new network; its events are in `tmp_path/folder/events.jsonl`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(
        folder: str = "work",
        data: PreprocessedDataset = pictures,
        hardware: Hardware = CPU,
        stop: Stop | None = None,
        network: Callable[[], nn.Module] | None = None,
        objective: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> tuple[nn.Module, Trained]:
        if objective:
            section = {"label_smoothing": 0.0, "class_weights": "none", **objective}
            labels = data.targets["label"][data.splits == TRAIN].astype(str).tolist()
            features = {"label": {"kind": "label", "classes": ["0", "1"]}}
            data = dataclasses.replace(data, objective=Classification.fit(section, features, [{"label": labels}]))
        config = TrainConfig(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.01, **settings})
        work = tmp_path / folder
        work.mkdir(exist_ok=True)
        torch.manual_seed(config.seed)
        model = network() if network else cnn.build({"hidden": 8, "dropout": 0.2}, data.processor.shape, 2)
        model.to(hardware.device)
        log = EventLog(work / "events.jsonl")
        checkpoints = Checkpoints(work / "checkpoints", "key", lambda step: log.write("damaged", step=step))
        try:
            trained = train(model, data, config, hardware, checkpoints, log, stop or Stop())
        finally:
            log.close()
        return model, trained

    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set folder of the digits with splits.npy."""
    folder = tmp_path_factory.mktemp("digits")
    dataset_format.write(folder, "digits", {"kind": "digits"}, Digits(kind="digits").read(folder))
    ids = dataset_format.read(folder, ["id"])["id"].to_pylist()
    np.save(folder / "splits.npy", assign_splits(ids, None, SplitConfig()))
    return folder


@pytest.fixture(scope="session")
def decodings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decodings")


@pytest.fixture(scope="session")
def make_job(digits: Path, decodings: Path) -> Callable[..., Job]:
    """`make_job(work, **train settings)` returns a job that trains a small network on the digits."""

    def make(work: Path, **train: Any) -> Job:
        settings = {"epochs": 6, "batch_size": 32, "learning_rate": 0.004, "checkpoint_seconds": 1000, **train}
        return Job(
            key="key",
            dataset=digits,
            dataset_digest=object_cache.listing_digest(object_cache.subtree(digits)),
            splits=digits / "splits.npy",
            decoded=decodings,
            decoded_key="key",
            checkpoint=None,
            model=Cnn(kind="cnn", hidden=16, dropout=0.1),
            objective=objectives.Classification(kind="classification"),
            train=TrainConfig(**settings),
            hardware=Hardware(device="cpu", precision="fp32", threads=1),
            work=work,
            parent=os.getpid(),
        )

    return make

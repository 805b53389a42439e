"""Jobs with images and texts, and their trainings in one process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from samples.datasets import labelled
from training.distributed.wide_trainings import Event, run

from modelworks.data import dataset_format
from modelworks.data.dvc_storage import object_cache
from modelworks.data.sources.base import Examples
from modelworks.data.splits import TRAIN, SplitConfig, assign_splits
from modelworks.models.config import Cnn, Transformer
from modelworks.training.job import Job


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set folder of texts of many lengths with splits.npy."""
    folder = tmp_path_factory.mktemp("sentences")
    draw = np.random.default_rng(0)
    words = {"up": ["rise", "gain", "grow", "high"], "down": ["fall", "loss", "drop", "low"]}
    labels = [str(label) for label in draw.choice(list(words), 300)]
    texts = [f"{' '.join(draw.choice(words[label], draw.integers(2, 12)))} {row}" for row, label in enumerate(labels)]
    columns = {"text": pa.array(texts), "label": pa.array(labels)}
    dataset_format.write(
        folder, "sentences", {}, Examples(features=labelled("text"), columns=columns, licence="", source_digest="")
    )
    ids = dataset_format.read(folder, ["id"])["id"].to_pylist()
    np.save(folder / "splits.npy", assign_splits(ids, None, SplitConfig()))
    return folder


@pytest.fixture(scope="session")
def images(make_job: Callable[..., Job]) -> Callable[..., Job]:
    """`images(work, processes, dropout=0)` returns a job whose epochs end with a batch of one row."""

    def make(work: Path, processes: int, *, dropout: float = 0.0, **train: Any) -> Job:
        job = make_job(work, **{"epochs": 2, "keep": "best", **train})
        rows = int((np.load(job.splits) == TRAIN).sum())
        size = next(each for each in range(40, rows) if rows % each == 1)
        return dataclasses.replace(
            job,
            model=Cnn(kind="cnn", hidden=16, dropout=dropout),
            train=dataclasses.replace(job.train, batch_size=size),
            hardware=dataclasses.replace(job.hardware, processes=processes),
        )

    return make


@pytest.fixture(scope="session")
def texts(
    make_job: Callable[..., Job], sentences: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Job]:
    """`texts(work, processes, shard=False)` returns a job that trains a transformer of three layers."""
    decodings = tmp_path_factory.mktemp("text-decodings")

    def make(work: Path, processes: int, *, shard: bool = False, dropout: float = 0.0, **train: Any) -> Job:
        job = make_job(work, **{"epochs": 3, "batch_size": 31, "ema": 0.9, "clip_norm": 1.0, **train})
        return dataclasses.replace(
            job,
            dataset=sentences,
            dataset_digest=object_cache.listing_digest(object_cache.subtree(sentences)),
            splits=sentences / "splits.npy",
            decoded=decodings,
            model=Transformer(kind="transformer", vocabulary=300, width=16, layers=3, heads=2, dropout=dropout),
            hardware=dataclasses.replace(job.hardware, processes=processes, shard=shard),
        )

    return make


@pytest.fixture(scope="session")
def one(images: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """Return output and events of a training of the images in one process."""
    return run(images(tmp_path_factory.mktemp("one") / "work", 1))


@pytest.fixture(scope="session")
def alone(texts: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of a training of the texts in one process."""
    return run(texts(tmp_path_factory.mktemp("alone") / "work", 1))[0]

"""A small real training: the digits, and jobs over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelworks.data import packed
from modelworks.data.config import SplitConfig
from modelworks.data.sources import Digits
from modelworks.models.config import Cnn
from modelworks.training.config import TrainConfig
from modelworks.training.hardware import Hardware
from modelworks.training.job import Job


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the digits, packed, and their splits.npy."""
    folder = tmp_path_factory.mktemp("digits")
    packed.write(folder, "digits", {"kind": "digits"}, Digits(kind="digits").read(folder))
    ids = packed.read(folder, ["id"])["id"].to_pylist()
    np.save(folder / "splits.npy", packed.assign_splits(ids, None, SplitConfig()))
    return folder


@pytest.fixture(scope="session")
def decodings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decodings")


@pytest.fixture(scope="session")
def make_job(digits: Path, decodings: Path) -> Callable[..., Job]:
    """`make_job(work, **train settings)`: a training of a small network on the digits, in a folder of its own."""

    def make(work: Path, **train: Any) -> Job:
        settings = {"epochs": 6, "batch_size": 32, "learning_rate": 0.004, "checkpoint_seconds": 1000, **train}
        return Job(
            key="key",
            dataset=digits,
            splits=digits / "splits.npy",
            classes=tuple(packed.describe(digits)["classes"]),
            decoded=decodings,
            decoded_key="key",
            checkpoint=None,
            model=Cnn(kind="cnn", hidden=16, dropout=0.1),
            train=TrainConfig(**settings),
            hardware=Hardware(device="cpu", precision="fp32", threads=1),
            work=work,
            parent=os.getpid(),
        )

    return make

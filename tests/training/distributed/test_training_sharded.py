"""Sharded training: the weights of one process, checkpoints of shards, refused combinations."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.distributed.wide_trainings import max_difference, run, signalled, weights

from modelworks.data.splits import TRAIN
from modelworks.errors import Unavailable
from modelworks.training.config import ComputeConfig
from modelworks.training.job import Job


@pytest.fixture(scope="module")
def killed_work(texts: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the work folder of a sharded training with a killed process."""
    job = texts(tmp_path_factory.mktemp("killed") / "work", 2, shard=True, checkpoint_steps=5)
    with pytest.raises(Unavailable):
        run(job, signalled(signal.SIGKILL, 1, at="checkpoint"))
    return job.work


@pytest.mark.slow
def test_sharded_training_gives_the_weights_of_one_process_and_resumes(
    texts: Callable[..., Job], alone: Path, killed_work: Path, tmp_path: Path
) -> None:
    sharded, _ = run(texts(tmp_path / "expected", 2, shard=True))
    assert max_difference(alone, sharded) < 1e-5
    shutil.copytree(killed_work, tmp_path / "work")
    resumed, recorded = run(texts(tmp_path / "work", 2, shard=True))
    assert recorded[0]["resumed_from"] > 0
    assert weights(resumed) == weights(sharded)


@pytest.mark.slow
@pytest.mark.timeout(120)  # processes with different numbers of micro-batches would hang
def test_sharded_processes_compute_the_same_number_of_micro_batches(texts: Callable[..., Job], tmp_path: Path) -> None:
    rows = int((np.load(texts(tmp_path, 1).splits) == TRAIN).sum())
    size = next(each for each in range(31, rows) if rows % each == 5)  # shares of the last batch: three and two rows
    settings = {"accumulate": 3, "batch_size": size, "epochs": 2}
    alone, _ = run(texts(tmp_path / "alone", 1, **settings))
    sharded, _ = run(texts(tmp_path / "sharded", 2, shard=True, **settings))
    assert max_difference(alone, sharded) < 1e-5


@pytest.mark.slow
def test_one_process_resumes_from_a_sharded_checkpoint(
    texts: Callable[..., Job], alone: Path, killed_work: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed_work, tmp_path / "work")
    folder, recorded = run(texts(tmp_path / "work", 1))
    assert recorded[0]["resumed_from"] > 0
    assert max_difference(alone, folder) < 1e-5


def test_damaged_shard_is_skipped_before_it_is_read(
    texts: Callable[..., Job], killed_work: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed_work, tmp_path / "work")
    damaged = list((tmp_path / "work" / "checkpoints").glob("step-*/shards/.metadata"))
    for metadata in damaged:
        metadata.write_bytes(pickle.dumps(Planted(str(tmp_path / "planted"))))
    _, recorded = run(texts(tmp_path / "work", 1))
    assert [event["type"] for event in recorded][: len(damaged)] == ["damaged"] * len(damaged) != []
    assert recorded[len(damaged)]["resumed_from"] == 0
    assert not (tmp_path / "planted").exists()


class Planted:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"kind": "ray", "processes": 2}, "processes belongs to kind: local"),
        ({"workers": 2}, "workers belongs to kind: ray"),
        ({"address": "local"}, "address belongs to kind: ray"),
        ({"shard": True}, "shard requires"),
    ],
)
def test_incompatible_compute_fields_are_refused(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ComputeConfig(**section)

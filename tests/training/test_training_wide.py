"""Distributed trainings give the weights of a single process, also after kills and signals."""

from __future__ import annotations

import dataclasses
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from safetensors.torch import load_file
from samples.datasets import labelled
from samples.trainings import events

from modelworks.data import dataset_format
from modelworks.data.dvc_storage import object_cache
from modelworks.data.sources.base import Examples
from modelworks.data.splits import TRAIN, SplitConfig, assign_splits
from modelworks.errors import BadInput, Interrupted, Unavailable
from modelworks.models.config import Cnn, Transformer
from modelworks.objectives.config import Classification
from modelworks.training.config import ComputeConfig
from modelworks.training.job import Job
from modelworks.training.launchers.local import launch

Event = dict[str, Any]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def run(job: Job, on_event: Callable[[Event], None] = lambda event: None) -> tuple[Path, list[Event]]:
    """Launch a job and return the output folder and the events."""
    folder = job.work.with_name(f"{job.work.name}-out")
    folder.mkdir(exist_ok=True)
    recorded: list[Event] = []

    def add(event: Event) -> None:
        recorded.append(event)
        on_event(event)

    launch(job, None, folder, folder, add)  # type: ignore[arg-type]  # the report is not read
    return folder, recorded


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def max_difference(one: Path, two: Path) -> float:
    """Return the largest difference between two models' weights.

    Biases of attention are left out: that of the keys does not change the attention, so its gradient is only rounding
    error, which Adam scales to full steps.
    """
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    names = [name for name in first if not name.endswith("project_in.bias")]
    return max(float((first[name] - second[name]).abs().max()) for name in names)


def trainers() -> list[psutil.Process]:
    """Return the trainers among this process's children, by rank."""
    return [each for each in psutil.Process().children() if "modelworks.training" in each.cmdline()]


def signalled(number: int, rank: int, at: str) -> Callable[[Event], None]:
    """Return a callback that sends a trainer a signal at the first event of a kind."""
    sent: list[int] = []

    def on_event(event: Event) -> None:
        if event["type"] == at and not sent:
            child = trainers()[rank]
            sent.append(child.pid)
            child.send_signal(number)

    return on_event


@pytest.fixture(scope="module")
def one(images: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """Return output and events of a training of the images in one process."""
    return run(images(tmp_path_factory.mktemp("one") / "work", 1))


@pytest.fixture(scope="module")
def two_with_dropout(images: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of an uninterrupted training of the images with dropout in two processes."""
    return run(images(tmp_path_factory.mktemp("two") / "work", 2, dropout=0.2))[0]


def test_two_processes_give_the_weights_of_one(
    images: Callable[..., Job], one: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder, recorded = run(images(tmp_path / "work", 2))
    assert max_difference(folder, one[0]) < 1e-4
    epochs, expected = ([event for event in each if event["type"] == "epoch"] for each in (recorded, one[1]))
    for found, wanted in zip(epochs, expected, strict=True):
        assert found["step"] == wanted["step"]
        assert found["validation_loss"] == pytest.approx(wanted["validation_loss"], abs=1e-4)
        assert found["validation_log_loss"] == pytest.approx(found["validation_loss"], abs=1e-4)
        assert found["validation_accuracy"] == pytest.approx(wanted["validation_accuracy"], abs=0.03)
    assert recorded[-1]["examples_per_second"] > 0
    assert {path.name for path in folder.iterdir()} == {"model", "events.jsonl", "log.txt"}


def test_accumulation_weights_and_clipping_are_the_same_in_two_processes(
    texts: Callable[..., Job], tmp_path: Path
) -> None:
    settings = {"accumulate": 3, "clip_norm": 0.5, "epochs": 2}
    balanced = Classification(kind="classification", class_weights="balanced")
    jobs = [texts(tmp_path / f"work{number}", number, **settings) for number in (1, 2)]
    alone, together = (run(dataclasses.replace(job, objective=balanced))[0] for job in jobs)
    assert max_difference(alone, together) < 1e-4


def test_torchrun_gives_the_same_weights(images: Callable[..., Job], two_with_dropout: Path, tmp_path: Path) -> None:
    job = dataclasses.replace(images(tmp_path / "work", 2, dropout=0.2), parent=0)
    job.work.mkdir()
    job.write(tmp_path / "job.json")
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "modelworks.training"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", *command, str(tmp_path / "job.json")], check=True, env=environment)
    assert weights(job.work) == weights(two_with_dropout)


def test_killed_rank_ends_all_and_a_resume_gives_the_same_bits(
    images: Callable[..., Job], two_with_dropout: Path, tmp_path: Path
) -> None:
    job = images(tmp_path / "work", 2, dropout=0.2, checkpoint_steps=9)
    with pytest.raises(Unavailable) as caught:
        run(job, signalled(signal.SIGKILL, 1, at="checkpoint"))
    assert caught.value.code == "training.killed"
    assert trainers() == []
    folder, recorded = run(job)
    assert recorded[0]["resumed_from"] > 0
    assert weights(folder) == weights(two_with_dropout)


def test_one_process_resumes_from_a_checkpoint_of_two(
    images: Callable[..., Job], one: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        run(images(tmp_path / "work", 2, checkpoint_steps=9), signalled(signal.SIGKILL, 0, at="checkpoint"))
    folder, recorded = run(images(tmp_path / "work", 1))
    assert recorded[0]["resumed_from"] > 0
    assert max_difference(folder, one[0]) < 1e-4


def test_sigterm_to_one_rank_stops_both_with_one_checkpoint(images: Callable[..., Job], tmp_path: Path) -> None:
    job = images(tmp_path / "work", 2, epochs=1000, keep="last")
    with pytest.raises(Interrupted) as caught:
        run(job, signalled(signal.SIGTERM, 1, at="step"))
    assert caught.value.exit_code == 143
    assert trainers() == []
    recorded = events(job.work)
    assert [event["type"] for event in recorded[-2:]] == ["checkpoint", "failed"]
    assert [each.name for each in (job.work / "checkpoints").iterdir()] == [f"step-{recorded[-2]['step']}"]


def test_failure_on_one_rank_is_reported(images: Callable[..., Job], tmp_path: Path) -> None:
    job = images(tmp_path / "work", 2)
    job.work.mkdir()
    (job.work / "checkpoints").write_text("a file, so that rank 0 fails")
    with pytest.raises(BadInput) as caught:
        run(job)
    assert caught.value.code == "disk.path-taken"


PARENT = """
import dataclasses, os, sys
from pathlib import Path
import psutil
from modelworks.training.job import Job
from modelworks.training.launchers.local import launch

job = dataclasses.replace(Job.read(Path(sys.argv[1])), parent=os.getpid())

def on_event(event):
    if event["type"] == "step":
        print(*(child.pid for child in psutil.Process().children()), flush=True)

launch(job, None, Path(sys.argv[2]), Path(sys.argv[2]), on_event)
"""


def test_all_processes_exit_with_their_parent(images: Callable[..., Job], tmp_path: Path) -> None:
    job = images(tmp_path / "work", 2, epochs=1000)
    job.work.mkdir()
    job.write(tmp_path / "job.json")
    command = [sys.executable, "-c", PARENT, str(tmp_path / "job.json"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [os.pidfd_open(int(each)) for each in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
        for child in children:
            poll = select.poll()
            poll.register(child, select.POLLIN)
            assert poll.poll(30_000), "a trainer is still running"
            os.close(child)


@pytest.fixture(scope="module")
def alone(texts: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of a training of the texts in one process."""
    return run(texts(tmp_path_factory.mktemp("alone") / "work", 1))[0]


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


@pytest.mark.timeout(120)  # processes with different numbers of micro-batches would hang
def test_sharded_processes_compute_the_same_number_of_micro_batches(texts: Callable[..., Job], tmp_path: Path) -> None:
    rows = int((np.load(texts(tmp_path, 1).splits) == TRAIN).sum())
    size = next(each for each in range(31, rows) if rows % each == 5)  # shares of the last batch: three and two rows
    settings = {"accumulate": 3, "batch_size": size, "epochs": 2}
    alone, _ = run(texts(tmp_path / "alone", 1, **settings))
    sharded, _ = run(texts(tmp_path / "sharded", 2, shard=True, **settings))
    assert max_difference(alone, sharded) < 1e-5


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

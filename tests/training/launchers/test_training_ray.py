"""The trainer program under Ray Train, on a local cluster of two nodes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from samples.trainings import events

from modelworks.errors import BadInput, Interrupted, ModelworksError, Refused, Unavailable
from modelworks.training.job import Job
from modelworks.training.launchers.local import launch
from modelworks.training.launchers.ray_train import FAILURE

pytestmark = pytest.mark.slow

Event = dict[str, Any]

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(**node)
print("at", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a cluster of two nodes of one CPU each on the loopback interface and yield its address."""
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as nodes:
        assert nodes.stdin is not None
        assert nodes.stdout is not None
        yield next(line.split()[1] for line in nodes.stdout if line.startswith("at "))
        nodes.stdin.close()


@pytest.fixture(scope="module")
def job(make_job: Callable[..., Job]) -> Callable[..., Job]:
    """`job(work, address)` returns a training with dropout in two processes; without an address on this machine."""

    def make(work: Path, address: str = "", **train: Any) -> Job:
        job = make_job(work, **{"epochs": 4, **train})
        return dataclasses.replace(job, hardware=dataclasses.replace(job.hardware, processes=2, ray=address))

    return make


def run(job: Job, on_event: Callable[[Event], None] = lambda event: None) -> bytes:
    """Launch a job and return the model's weights."""
    folder = job.work.with_name(f"{job.work.name}-out")
    folder.mkdir(exist_ok=True)
    launch(job, None, folder, folder, on_event)  # type: ignore[arg-type]  # the report is not read
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def two_processes(job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the weights of a training with two processes on this machine."""
    return run(job(tmp_path_factory.mktemp("local") / "work"))


def workers(address: str) -> list[psutil.Process]:
    """The training processes of that cluster; other clusters may run on this machine."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):  # it ended meanwhile
            raylet = each.parent()
            if "TrainWorker" in each.name() and raylet and f"--gcs-address={address}" in raylet.cmdline():
                found.append(each)
    return found


def test_ray_workers_give_the_same_bits_as_two_processes(
    job: Callable[..., Job], cluster: str, two_processes: bytes, tmp_path: Path
) -> None:
    assert run(job(tmp_path / "work", cluster)) == two_processes


def test_killed_worker_is_replaced_and_the_training_completes(
    job: Callable[..., Job], cluster: str, two_processes: bytes, tmp_path: Path
) -> None:
    recorded: list[Event] = []

    def on_event(event: Event) -> None:
        if event["type"] == "checkpoint" and not any(each["type"] == "checkpoint" for each in recorded):
            workers(cluster)[1].kill()
        recorded.append(event)

    assert run(job(tmp_path / "work", cluster, checkpoint_steps=20), on_event) == two_processes
    starts = [event["resumed_from"] for event in recorded if event["type"] == "start"]
    assert starts[0] == 0
    assert starts[1] > 0


def test_stop_request_stops_the_workers_with_a_checkpoint(
    job: Callable[..., Job], cluster: str, tmp_path: Path
) -> None:
    asked = job(tmp_path / "work", cluster, epochs=1000)

    def on_event(event: Event) -> None:
        if event["type"] == "step":
            (child,) = [each for each in psutil.Process().children() if "modelworks.training" in each.cmdline()]
            child.send_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        run(asked, on_event)
    assert len(list((asked.work / "checkpoints").glob("step-*"))) == 1


def test_diverged_training_on_ray_is_refused(job: Callable[..., Job], tmp_path: Path) -> None:
    diverging = job(tmp_path / "work", "local", learning_rate=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(Refused) as caught:
        run(diverging)
    assert caught.value.code == "training.diverged"


def test_bug_in_a_worker_is_reported_without_a_retry(job: Callable[..., Job], cluster: str, tmp_path: Path) -> None:
    asked = dataclasses.replace(job(tmp_path / "work", cluster), splits=tmp_path / "splits.npy")
    asked.splits.write_bytes(b"no array")
    with pytest.raises(ModelworksError) as caught:
        run(asked)
    assert caught.value.exit_code == 1
    assert events(asked.work)[-1]["message"].startswith("ValueError: ")
    log = (asked.work / "log.txt").read_text()
    assert log.splitlines()[-1].startswith("ValueError: ")


WORKER = """
import sys
import torch.distributed as dist
from modelworks.training.launchers.ray_train import _train_worker

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
_train_worker({"job": sys.argv[1]})
"""


def test_disk_error_of_a_worker_is_reported(job: Callable[..., Job], tmp_path: Path) -> None:
    asked = job(tmp_path / "work", "local", checkpoint_steps=1)
    asked.work.mkdir()
    asked.write(asked.work / "job.json")
    (asked.work / "checkpoints").write_text("a file")
    subprocess.run([sys.executable, "-c", WORKER, asked.work / "job.json"], check=False, capture_output=True)
    recorded = json.loads((asked.work / FAILURE).read_text())
    assert recorded["exit_code"] == BadInput.exit_code
    assert recorded["code"] == "disk.path-taken"


def test_missing_cluster_is_unavailable(job: Callable[..., Job], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1") as caught:
        run(job(tmp_path / "work", "127.0.0.1:1"))
    assert caught.value.code == "compute.no-cluster"

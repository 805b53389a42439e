"""The trainer program under Ray Train, on a local cluster of two nodes: what two processes do, in two places."""

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
from trainings import events

from modelworks.errors import BadInput, Interrupted, ModelworksError, Refused, Unavailable
from modelworks.training.job import Job
from modelworks.training.launchers.local import launch
from modelworks.training.launchers.ray_train import NOTE

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
    """The address of a cluster of two nodes of one CPU each, on the loopback interface."""
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
    """`job(work, address)`: a training with dropout in two processes; without an address by torchrun's way."""

    def make(work: Path, address: str = "", **train: Any) -> Job:
        made = make_job(work, **{"epochs": 4, **train})
        return dataclasses.replace(made, hardware=dataclasses.replace(made.hardware, processes=2, ray=address))

    return make


def run(job: Job, on_event: Callable[[Event], None] = lambda event: None) -> bytes:
    """Launch a job; the weights it ends with."""
    folder = job.work.with_name(f"{job.work.name}-out")
    folder.mkdir(exist_ok=True)
    launch(job, None, folder, folder, on_event)  # type: ignore[arg-type]  # the report is only passed on
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def two_processes(job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights that two processes of this machine end with."""
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


def test_workers_of_a_cluster_end_in_the_bits_of_two_processes(
    job: Callable[..., Job], cluster: str, two_processes: bytes, tmp_path: Path
) -> None:
    assert run(job(tmp_path / "work", cluster)) == two_processes


def test_a_killed_worker_is_replaced_and_the_run_completes(
    job: Callable[..., Job], cluster: str, two_processes: bytes, tmp_path: Path
) -> None:
    told: list[Event] = []

    def on_event(event: Event) -> None:
        if event["type"] == "checkpoint" and not any(each["type"] == "checkpoint" for each in told):
            workers(cluster)[1].kill()
        told.append(event)

    assert run(job(tmp_path / "work", cluster, checkpoint_steps=20), on_event) == two_processes
    starts = [event["resumed_from"] for event in told if event["type"] == "start"]
    assert starts[0] == 0
    assert starts[1] > 0


def test_a_stop_of_the_flow_stops_the_workers_at_a_checkpoint(
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


def test_a_divergence_on_a_cluster_of_its_own_is_refused_as_anywhere(job: Callable[..., Job], tmp_path: Path) -> None:
    diverging = job(tmp_path / "work", "local", learning_rate=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(Refused, match=r"the loss is (nan|inf) at step"):
        run(diverging)


def test_our_own_bug_is_told_and_not_tried_again(job: Callable[..., Job], cluster: str, tmp_path: Path) -> None:
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
from modelworks.training.launchers.ray_train import _share

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
_share({"job": sys.argv[1]})
"""


def test_what_the_disk_refuses_a_worker_is_told(job: Callable[..., Job], tmp_path: Path) -> None:
    asked = job(tmp_path / "work", "local", checkpoint_steps=1)
    asked.work.mkdir()
    asked.write(asked.work / "job.json")
    (asked.work / "checkpoints").write_text("in its way")
    subprocess.run([sys.executable, "-c", WORKER, asked.work / "job.json"], check=False, capture_output=True)
    told = json.loads((asked.work / NOTE).read_text())
    assert told["exit_code"] == BadInput.exit_code
    assert "a file is in its way" in told["message"]


def test_a_cluster_that_is_not_there_is_told(job: Callable[..., Job], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        run(job(tmp_path / "work", "127.0.0.1:1"))

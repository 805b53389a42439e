"""Run the trainer program on a Ray cluster. Experimental: never run with GPUs.

The job's folders must have the same paths on all workers. Ray replaces a lost worker, and all workers resume from the
newest checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Interrupted, ModelworksError, Unavailable
from modelworks.files.atomic_files import disk_errors, write_json
from modelworks.training.distributed.ddp import BACKENDS, make_world
from modelworks.training.hardware import environment
from modelworks.training.job import Job, events_name
from modelworks.training.launchers.ray_internals import lost_peer
from modelworks.training.loop import Stop
from modelworks.training.monitoring.events import EventLog, failure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fit"]

MAX_FAILURES = 3
"""Maximum number of lost workers in one attempt."""
CONNECT_SECONDS = 5.0
FAILURE = "failure.json"
"""File in the work folder with the error of a worker, other than the loss of a worker."""


def fit(job: Job, events: EventLog) -> None:
    """Run a job on a Ray cluster and write `model/` into its work folder.

    Raises:
        BadInput: Ray is not installed.
        Unavailable: the cluster cannot be reached, or loses workers repeatedly.
        SystemExit: a worker failed; a `failed` event has the error of the exit code.
    """
    loopback = _loopback(job.hardware.ray)
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", **loopback})  # before Ray is imported
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError:
        raise BadInput(
            "compute.kind: ray needs Ray, which is not installed", "install the extra: ray", code="compute.ray-missing"
        ) from None
    request, failure_file = _StopFile(job.work / "stop"), job.work / FAILURE
    for old in (request.path, failure_file):
        old.unlink(missing_ok=True)
    _connect(job.hardware.ray)
    signal.signal(signal.SIGTERM, lambda _number, _frame: request.path.touch())  # Ray replaces the handler
    shutil.rmtree(job.work / "ray", ignore_errors=True)  # Ray's state of an interrupted attempt
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"job": str(job.work / "job.json")},
        torch_config=TorchConfig(backend=BACKENDS[job.hardware.device]),
        scaling_config=ScalingConfig(
            num_workers=job.hardware.processes,
            use_gpu=job.hardware.device == "cuda",
            resources_per_worker={"CPU": job.hardware.threads},
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(job.work),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            worker_runtime_env={"env_vars": {**environment(job.hardware), **loopback}},
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if not failure_file.exists():
            raise Unavailable(
                f"the training failed on Ray: {error}", "run again: it resumes; see log.txt", code="compute.ray-failed"
            ) from error
    finally:
        ray.shutdown()
    if failure_file.exists():
        failed = json.loads(failure_file.read_text())
        events.write("failed", **failed)
        sys.stderr.write(f"{failed['message']}\n")  # the last line of the log
        sys.exit(failed["exit_code"])


class _StopFile(Stop):
    """A stop request as a file in the work folder, which workers on other machines see."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def requested(self) -> int:  # type: ignore[override]  # a property instead of an attribute
        return signal.SIGTERM if self.path.exists() else 0

    def listen(self) -> None:
        """Do nothing: the file needs no handler."""


def _loopback(address: str) -> dict[str, str]:
    """Return variables that bind Ray and torch to loopback for a cluster on this machine only."""
    if address != "local" and not address.startswith(("127.", "localhost:")):
        return {}
    interface = "lo" if sys.platform.startswith("linux") else "lo0"
    # With 0 Ray keeps loopback addresses as they are; the default on Linux.
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
    }


def _connect(address: str) -> None:
    import ray

    host, _, port = address.rpartition(":")
    try:
        if port.isdigit():  # Ray itself retries for many minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, **({"include_dashboard": False} if address == "local" else {}))
    except OSError as error:  # includes Ray's ConnectionError
        raise Unavailable(
            f"compute.address: there is no Ray cluster at {address}: {error}",
            "start one with `ray start`, or set compute.address: local",
            code="compute.no-cluster",
        ) from error


def _train_worker(config: Mapping[str, Any]) -> None:
    """Train in a worker; Ray has initialised the process group."""
    from modelworks.training.fit import fit as train

    job = Job.read(Path(config["job"]))
    failure_file = job.work / FAILURE
    if failure_file.exists():  # Ray retries after every failure; a retry does not help with this one
        return
    world = make_world(job.hardware)
    events = EventLog(job.work / events_name(world.rank))
    try:
        with disk_errors(job.work):
            train(job, events, world, _StopFile(job.work / "stop"))
    except Exception as error:  # including our bugs: without the file Ray only retries
        if not lost_peer(error) and (world.is_main or not failure_file.exists()):
            write_json(failure_file, _failure(error))
        if not isinstance(error, Interrupted):  # all workers are interrupted; otherwise others may wait for this one
            raise


def _failure(error: Exception) -> dict[str, Any]:
    """Return the fields of the `failed` event for an error of a worker."""
    if isinstance(error, ModelworksError):
        return failure(error)
    (line, *_) = str(error).splitlines() or [""]
    return failure(ModelworksError(f"{type(error).__name__}: {line}", code="training.failed"))

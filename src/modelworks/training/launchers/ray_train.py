"""Run the trainer program on the workers of a Ray cluster. Experimental: it was never run with GPUs.

All workers see the job's folders under the same paths. Ray replaces a lost worker, and all of them resume from the
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
from modelworks.training.loop import Stop
from modelworks.training.monitoring.events import EventLog, failure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fit"]

MAX_FAILURES = 3
"""Of workers that were lost, in one attempt."""
CONNECT_SECONDS = 5.0
NOTE = "failure.json"
"""In the work folder: why a worker could not go on, when it was not for being lost."""


def fit(job: Job, events: EventLog) -> None:
    """Do a job on a Ray cluster; its work folder then holds `model/`.

    Raises:
        BadInput: Ray is not installed.
        Unavailable: the cluster is not there, or loses workers time and again.
        SystemExit: a worker could not do it; with the exit code, and an event, that say why.
    """
    apart = _loopback(job.hardware.ray)
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", **apart})  # before Ray is imported
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError:
        raise BadInput(
            "compute.kind: ray needs Ray, which is not installed", "install the extra: ray", code="compute.ray-missing"
        ) from None
    request, note = _StopFile(job.work / "stop"), job.work / NOTE
    for old in (request.path, note):
        old.unlink(missing_ok=True)
    _connect(job.hardware.ray)
    signal.signal(signal.SIGTERM, lambda _number, _frame: request.path.touch())  # Ray has taken it
    shutil.rmtree(job.work / "ray", ignore_errors=True)  # what Ray noted of an attempt that was cut off
    trainer = TorchTrainer(
        _share,
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
            worker_runtime_env={"env_vars": {**environment(job.hardware), **apart}},
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if not note.exists():
            raise Unavailable(
                f"Ray gave up: {error}", "run again: it resumes; log.txt says more", code="compute.ray-failed"
            ) from error
    finally:
        ray.shutdown()
    if note.exists():
        found = json.loads(note.read_text())
        events.write("failed", **found)
        sys.stderr.write(f"{found['message']}\n")  # the last line of its log
        sys.exit(found["exit_code"])


class _StopFile(Stop):
    """A request that reaches workers on other machines: a file in the work folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def requested(self) -> int:  # type: ignore[override]  # it is looked up
        return signal.SIGTERM if self.path.exists() else 0

    def listen(self) -> None:
        """There is nothing to set up."""


def _loopback(address: str) -> dict[str, str]:
    """What keeps Ray and torch on this machine's loopback interface, when the cluster is on this machine alone."""
    if address != "local" and not address.startswith(("127.", "localhost:")):
        return {}
    interface = "lo" if sys.platform.startswith("linux") else "lo0"
    # Ray's own switch, on by default on other systems than Linux: addresses of this machine stay loopback's.
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
    }


def _connect(address: str) -> None:
    import ray

    host, _, port = address.rpartition(":")
    try:
        if port.isdigit():  # Ray itself would go on trying for many minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, **({"include_dashboard": False} if address == "local" else {}))
    except OSError as error:  # Ray's ConnectionError is one
        raise Unavailable(
            f"compute.address: there is no Ray cluster at {address}: {error}",
            "start it with `ray start`, or say local",
            code="compute.no-cluster",
        ) from error


def _share(config: Mapping[str, Any]) -> None:
    """What each worker does; Ray has made them a process group."""
    from modelworks.training.fit import fit as train

    job = Job.read(Path(config["job"]))
    note = job.work / NOTE
    if note.exists():  # Ray tries again whatever the failure; this one was none that another attempt can mend
        return
    world = make_world(job.hardware)
    events = EventLog(job.work / events_name(world.rank))
    try:
        with disk_errors(job.work):
            train(job, events, world, _StopFile(job.work / "stop"))
    except Exception as error:  # our own bugs too: without a note of them Ray would only try again
        if not _lost_another(error) and (world.is_main or not note.exists()):
            write_json(note, _failure(error))
        if not isinstance(error, Interrupted):  # which all of them are: but else the others may be waiting for this one
            raise


def _lost_another(error: Exception) -> bool:
    """Whether an exchange with the other processes failed: Ray replaces the one that is gone, and this one with it."""
    import torch.distributed as dist

    # Gloo's errors are plain RuntimeErrors, and begin with the place in its source.
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _failure(error: Exception) -> dict[str, Any]:
    """What the process that asked for workers ends with, and says."""
    if isinstance(error, ModelworksError):
        return failure(error)
    (line, *_) = str(error).splitlines() or [""]
    return failure(ModelworksError(f"{type(error).__name__}: {line}", code="training.failed"))

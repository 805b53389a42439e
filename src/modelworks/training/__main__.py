"""The trainer program: `python -m modelworks.training [JOB.json]`.

Reads a job, trains, and leaves `model/` in the job's work folder. What happens meanwhile is in events.jsonl.
Without an argument the job's name is awaited on stdin, the libraries are imported meanwhile, and what they print goes
to log.txt beside the events. Exit codes are those of `modelworks.errors`; 143 and 130 mean that a checkpoint was
written on request.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput, Interrupted, ModelworksError, Refused
from modelworks.process import die_with_parent, spare_imported_garbage
from modelworks.store import disk_errors
from modelworks.training.events import EventLog
from modelworks.training.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def main() -> int:
    """Run the job named on the command line, or on stdin."""
    spare_imported_garbage()
    signal.signal(signal.SIGTERM, _give_up)
    # Ctrl-C reaches the whole group; the parent passes it on as SIGTERM, so that it is answered once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    named = sys.argv[1] if len(sys.argv) > 1 else _awaited()
    if not named:  # there is nothing to train after all, or nobody is left to ask for it
        return 0
    job = Job.read(Path(named))
    if named not in sys.argv:
        _log_to(job.work / "log.txt")
    events = EventLog(job.work / "events.jsonl")
    try:
        die_with_parent(job.parent)
        with disk_errors(job.work):
            _run(job, events)
    except ModelworksError as error:
        with suppress(OSError):  # a disk that is full takes no event either; the exit code speaks for itself
            events.write("failed", exit_code=error.exit_code, message=error.message, hint=error.hint)
        return error.exit_code
    return 0


def _awaited() -> str:
    """The line that the parent writes when it knows the job."""
    importlib.import_module("modelworks.training.loop")
    importlib.import_module("modelworks.models.saved")
    importlib.import_module("modelworks.data.decoded")
    return sys.stdin.readline().strip()


def _log_to(path: Path) -> None:
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())


def _give_up(number: int, _frame: FrameType | None) -> None:
    """Answer a signal before the first step: there is nothing to keep."""
    raise Interrupted(number)


def _run(job: Job, events: EventLog) -> None:
    import numpy as np
    import torch

    from modelworks.data.decoded import decoded
    from modelworks.data.packed import TRAIN
    from modelworks.models import saved
    from modelworks.training.checkpoint import Checkpoints
    from modelworks.training.loop import Stop, Stopped, train
    from modelworks.training.meter import Diverged

    torch.set_num_threads(job.hardware.threads)
    torch.set_deterministic_debug_mode("error")
    torch.manual_seed(job.train.seed)

    section = vars(job.model)
    architecture = importlib.import_module(f"modelworks.models.{job.model.kind}")
    modality = importlib.import_module(f"modelworks.modalities.{job.model.modality}")
    data = decoded(
        job.decoded,
        job.decoded_key,
        job.dataset,
        np.load(job.splits),
        job.classes,
        fit=lambda contents: modality.Input.fit(contents, section, architecture.assets(job.checkpoint)),
        load=modality.Input,
    )
    with _fitting_checkpoint():
        configuration = architecture.configure(section, job.checkpoint)
    description = {
        "kind": job.model.kind,
        "modality": job.model.modality,
        "labels": job.classes,
        "architecture": configuration,
        "shape": data.input.shape,
    }
    network = architecture.build(configuration, data.input.shape, len(job.classes))
    with _fitting_checkpoint():
        architecture.initialise(network, job.checkpoint)
    network.to(job.hardware.device)
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.request)
    try:
        trained = train(
            network, data, job.train, job.hardware, Checkpoints(job.work / "checkpoints", job.key), events, stop
        )
    except Stopped:
        raise Interrupted(stop.requested) from None
    except Diverged as error:
        raise Refused(str(error), "lower train.learning_rate, or set train.clip_norm") from None
    except torch.OutOfMemoryError as error:
        raise BadInput(f"the GPU's memory is full: {str(error).splitlines()[0]}", "lower train.batch_size") from None
    shutil.rmtree(job.work / "model", ignore_errors=True)
    saved.save(
        job.work / "model",
        description=description,
        network=network,
        inputs=data.input,
        sources={"architecture": Path(str(architecture.__file__)), "modality": Path(str(modality.__file__))},
        training_ids=np.sort(data.ids[data.splits == TRAIN]),
    )
    events.write(
        "done",
        step=trained.steps,
        seconds=trained.seconds,
        examples_per_second=trained.examples_per_second,
        parameters=sum(each.numel() for each in network.parameters()),
    )


@contextmanager
def _fitting_checkpoint() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadInput(str(error), "name a checkpoint that fits, or change what is asked of it") from error


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # all is on disk; to take torch apart would cost the parent, who waits, most of a second

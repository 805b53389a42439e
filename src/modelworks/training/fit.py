"""Run a training job: decode the rows, build the network, train it, save the model."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import random
import shutil
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.errors import BadInput, Interrupted, Refused
from modelworks.fault_injection import fault_point
from modelworks.modalities.base import processor_class
from modelworks.models import serialization
from modelworks.objectives.base import objective_class
from modelworks.preprocessing.preprocessed import PreprocessedDataset, preprocessed
from modelworks.training.checkpoint import Checkpoints
from modelworks.training.determinism import demand_determinism, refuse_nondeterminism
from modelworks.training.distributed.context import World, join
from modelworks.training.loop import Stop, Stopped, train
from modelworks.training.monitoring.progress import Diverged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from modelworks.modalities.base import Processor
    from modelworks.objectives.base import Objective
    from modelworks.training.job import Job
    from modelworks.training.monitoring.events import EventLog

__all__ = ["fit"]


def fit(job: Job, events: EventLog, world: World | None = None, stop: Stop | None = None) -> None:
    """Run a job and write `model/` into its work folder.

    Args:
        world: the training's processes; None for those of the environment variables.
        stop: the source of stop requests; None for SIGTERM.

    Raises:
        BadInput: the config does not fit the data, the checkpoint or the memory.
        Refused: the loss diverged.
        Interrupted: a stop was requested, and a checkpoint was written.
    """
    world, stop = world or join(job.hardware, job.work), stop or Stop()
    _fix_randomness(job)
    architecture = importlib.import_module(f"modelworks.models.{job.model.kind}")
    processor, objective = processor_class(job.model.modality), objective_class(job.objective.kind)
    sources = serialization.sources(architecture, *(sys.modules[each.__module__] for each in (processor, objective)))
    data = _rows(job, architecture, processor, objective)
    with _checkpoint_errors():
        configuration = architecture.configure(vars(job.model), job.checkpoint)
        size, output = data.objective.num_outputs, data.objective.output
        build = functools.partial(architecture.build, configuration, data.processor.shape, size, output)
        network = build()
        architecture.initialise(network, job.checkpoint)
    if not world.is_main:  # each process draws its own dropout and augmentation
        _seed(int(np.random.SeedSequence([job.train.seed, world.rank]).generate_state(1)[0]))
    network.to(job.hardware.device)
    checkpoints = Checkpoints(
        job.work / "checkpoints", job.key, skipped=lambda step: events.write("damaged", step=step), world=world
    )
    stop.listen()
    try:
        with refuse_nondeterminism():
            trained = train(network, data, job.train, job.hardware, checkpoints, events, stop, world)
    except Stopped:
        raise Interrupted(stop.requested or signal.SIGTERM) from None  # the signal may have reached another process
    except Diverged as error:
        rows = [f"{each:016x}" for each in data.ids[error.batch]]
        events.write("diverged", step=error.step, learning_rate=error.rate, ids=rows)
        raise Refused(
            f"{error}, over {len(rows)} rows, e.g. {', '.join(rows[:3])}",
            "lower train.learning_rate, or set train.clip_norm; events.jsonl lists all rows of the batch",
            code="training.diverged",
        ) from None
    num_parameters = sum(each.numel() for each in network.parameters())
    weights = world.full_state_dict(network)
    if not world.is_main:
        return
    if weights is not None:
        network = build()
        network.load_state_dict(weights)
    _save(job, data, configuration, network, sources)
    events.write(
        "done",
        step=trained.steps,
        seconds=trained.seconds,
        examples_per_second=trained.examples_per_second,
        parameters=num_parameters,
    )


def _save(
    job: Job,
    data: PreprocessedDataset,
    configuration: Mapping[str, Any],
    network: nn.Module,
    sources: Mapping[str, bytes],
) -> None:
    """Write `model/` into the work folder, replacing that of an earlier attempt."""
    fault_point("train.before_save")
    shutil.rmtree(job.work / "model", ignore_errors=True)
    serialization.save(
        job.work / "model",
        description={
            "kind": job.model.kind,
            "modality": job.model.modality,
            "architecture": configuration,
            "shape": data.processor.shape,
        },
        network=network,
        processor=data.processor,
        objective=data.objective,
        sources=sources,
        training_ids=np.sort(data.ids[data.splits == TRAIN]),
    )
    fault_point("train.after_save")


def _fix_randomness(job: Job) -> None:
    torch.set_num_threads(job.hardware.threads)
    if job.train.deterministic:
        demand_determinism()
    elif job.hardware.device == "cuda":
        torch.backends.cudnn.benchmark = True
    # Compiled kernels are code, so they are stored where only this user can write, not below /tmp.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(job.decoded / "compiled"))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # for operations in fp32
    _seed(job.train.seed)


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # a model may use the global generators
    random.seed(seed)


def _rows(job: Job, architecture: Any, processor: type[Processor], objective: type[Objective]) -> PreprocessedDataset:
    data = preprocessed(
        job.decoded,
        job.decoded_key,
        job.dataset,
        job.dataset_digest,
        np.load(job.splits, allow_pickle=False),
        fit=lambda contents: processor.fit(contents, vars(job.model), architecture.assets(job.checkpoint)),
        load=processor,
        fit_objective=functools.partial(objective.fit, dataclasses.asdict(job.objective)),
    )
    if (job.train.keep == "best" or job.train.patience) and not (data.splits == VALIDATION).any():
        raise BadInput(
            "train.keep: best and train.patience need validation rows, and there are none",
            "raise split.validation, or remove these fields",
            code="train.no-validation-rows",
        )
    return data


@contextmanager
def _checkpoint_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadInput(
            str(error), "name another checkpoint, or change the fields of model", code="model.does-not-fit"
        ) from error

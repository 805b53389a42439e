"""Take one optimizer step, in as many micro-batches as memory requires."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from modelworks.errors import BadInput
from modelworks.training.config import AugmentConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelworks.modalities.base import Processor
    from modelworks.objectives.base import Objective
    from modelworks.training.config import TrainConfig
    from modelworks.training.data_loader import Batch
    from modelworks.training.distributed.context import World
    from modelworks.training.hardware import Hardware
    from modelworks.training.monitoring.events import EventLog

__all__ = ["Stepper", "autocast"]

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Layers whose statistics depend on all examples of a forward pass."""


class Stepper:
    """Takes optimizer steps.

    Its state, the number of micro-batches per batch, is part of every checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        processor: Processor,
        objective: Objective,
        config: TrainConfig,
        hardware: Hardware,
        world: World,
        events: EventLog,
    ) -> None:
        self._model, self._optimizer, self._processor, self._objective = model, optimizer, processor, objective
        self._config, self._hardware, self._world, self._events = config, hardware, world, events
        self._parameters = list(model.parameters())
        self._parts = config.accumulate
        self._augments = config.augment != AugmentConfig()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of micro-batches."""
        return {"parts": self._parts}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore the number of micro-batches."""
        self._parts = state["parts"]

    def step(self, batch: Batch, rate: float) -> torch.Tensor:
        """Take one optimizer step and return the mean loss of the batch, detached and on its device.

        The gradient does not depend on the number of micro-batches. When memory runs out, the number is doubled for the
        rest of the training and the batch is computed again.

        Args:
            rate: the learning rate of this step.

        Raises:
            BadInput: one example does not fit into memory, or the model has batch norms, so that micro-batches would
                change the result.
        """
        inputs = batch.inputs
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        if self._augments:
            inputs = self._processor.augment(inputs, self._config.augment)
        while True:
            try:
                loss = self._gradient(inputs, batch.targets, self._world.min_rows(batch.rows))
                break
            except torch.OutOfMemoryError as error:
                # Raise after the handler, which keeps references to the failed attempt's tensors.
                failure = self._shrink(batch.num_examples, error)
            if failure:
                raise failure
        if self._config.clip_norm:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        self._optimizer.step()
        self._clear_gradients()
        return loss

    def _gradient(
        self, inputs: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor], fewest: int
    ) -> torch.Tensor:
        """Accumulate the gradients of all micro-batches and return the mean loss.

        Args:
            fewest: examples in the smallest share of a process, which determines the number of micro-batches of all.
        """
        weight = self._world.all_reduce(self._objective.weight(targets, training=True))
        size = math.ceil(fewest / self._parts)
        starts = range(0, fewest, size)
        total = torch.zeros((), device=weight.device)
        for start in starts:
            more = start < starts[-1]
            part = slice(start, start + size) if more else slice(start, None)  # the last one has the remainder
            with self._world.accumulating(self._model, more):
                with autocast(self._hardware):
                    outputs = self._model(**{name: each[part] for name, each in inputs.items()})
                own = {name: each[part] for name, each in targets.items()}
                loss = self._objective.loss(outputs.float(), own, training=True) / weight
                # DDP averages gradients over processes; multiply to get the sum.
                (loss * self._world.size).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            total += loss.detach()
        return total

    def _clear_gradients(self) -> None:
        """Do the same as zero_grad without collecting the parameters again."""
        for each in self._parameters:
            each.grad = None

    def _shrink(self, examples: int, error: Exception) -> BadInput | None:
        """Halve the examples per micro-batch; return an error if that is impossible."""
        self._clear_gradients()
        message = f"out of memory: {str(error).splitlines()[0]}"
        if any(isinstance(each, BATCH_NORMS) for each in self._model.modules()):
            return BadInput(
                message,
                "lower train.batch_size: batch norms do not allow gradient accumulation",
                code="training.memory",
            )
        if self._config.compile:  # its gradients are in CUDA graph memory, which the next forward reuses
            return BadInput(
                message,
                "lower train.batch_size, or remove train.compile, which does not allow gradient accumulation",
                code="training.memory",
            )
        if self._world.size > 1:  # the other processes wait for this step's gradients
            return BadInput(
                message,
                "raise train.accumulate, lower train.batch_size, or use more processes",
                code="training.memory",
            )
        if self._parts >= examples:
            return BadInput(
                message, "one example does not fit: use a smaller model or smaller inputs", code="training.memory"
            )
        self._parts *= 2
        if self._hardware.device == "cuda":
            torch.cuda.empty_cache()
        self._events.write("memory", parts=self._parts, examples=math.ceil(examples / self._parts))
        return None


def autocast(hardware: Hardware) -> torch.autocast:
    """Return torch's autocast context for the hardware's precision."""
    return torch.autocast(hardware.device, torch.bfloat16, enabled=hardware.precision == "bf16")

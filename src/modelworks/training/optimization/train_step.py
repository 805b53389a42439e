"""Take one optimizer step: forward and backward in as many parts as memory needs, clip, step."""

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
"""Layers whose statistics are those of all examples that are computed at once."""


class Stepper:
    """Takes optimizer steps. Its state, the number of parts of a batch, is part of every checkpoint."""

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
        """Return the number of parts in which a batch is computed."""
        return {"parts": self._parts}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore the number of parts."""
        self._parts = state["parts"]

    def step(self, batch: Batch, rate: float) -> torch.Tensor:
        """Take one optimizer step and return the mean loss of the batch, detached and on its device.

        The gradient is that of the whole batch, whatever the number of parts it is computed in. When memory runs out,
        the number is doubled for the rest of the training and the batch is computed again.

        Args:
            rate: the learning rate of this step.

        Raises:
            BadInput: memory does not suffice for one example, or the model computes statistics over a whole batch, so
                that smaller parts would change the result.
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
                # Outside of the handler nothing holds the failed attempt's tensors any more.
                refusal = self._smaller(batch.num_examples, error)
            if refusal:
                raise refusal
        if self._config.clip_norm:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        self._optimizer.step()
        self._forget_gradients()
        return loss

    def _gradient(
        self, inputs: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor], fewest: int
    ) -> torch.Tensor:
        """Add up the gradients of all parts and return the mean loss.

        Args:
            fewest: examples in the smallest share of a process: all processes compute as many parts as that one.
        """
        whole = self._world.total(self._objective.weight(targets, training=True))
        size = math.ceil(fewest / self._parts)
        starts = range(0, fewest, size)
        total = torch.zeros((), device=whole.device)
        for start in starts:
            more = start < starts[-1]
            part = slice(start, start + size) if more else slice(start, None)  # the last part has all that is left
            with self._world.accumulating(self._model, more):
                with autocast(self._hardware):
                    outputs = self._model(**{name: each[part] for name, each in inputs.items()})
                own = {name: each[part] for name, each in targets.items()}
                loss = self._objective.loss(outputs.float(), own, training=True) / whole
                # Several processes average their gradients: this makes the sum of it.
                (loss * self._world.size).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            total += loss.detach()
        return total

    def _forget_gradients(self) -> None:
        """Do what zero_grad does, without its search for the parameters."""
        for each in self._parameters:
            each.grad = None

    def _smaller(self, examples: int, error: Exception) -> BadInput | None:
        """Halve the number of examples in a part; return an error where that is impossible."""
        self._forget_gradients()
        message = f"memory does not suffice: {str(error).splitlines()[0]}"
        if any(isinstance(each, BATCH_NORMS) for each in self._model.modules()):
            return BadInput(
                message,
                "lower train.batch_size: the model's batch norms forbid to compute it in parts",
                code="training.memory",
            )
        if self._config.compile:  # its gradients lie in a CUDA graph's memory, which the next part's forward takes back
            return BadInput(
                message,
                "lower train.batch_size, or leave out train.compile: it computes no batch in parts",
                code="training.memory",
            )
        if self._world.size > 1:  # the others are in the middle of this step and wait for its gradients
            return BadInput(
                message,
                "raise train.accumulate, lower train.batch_size, or take more processes",
                code="training.memory",
            )
        if self._parts >= examples:
            return BadInput(
                message, "even one example is too much: take a smaller model or smaller inputs", code="training.memory"
            )
        self._parts *= 2
        if self._hardware.device == "cuda":
            torch.cuda.empty_cache()
        self._events.write("memory", parts=self._parts, examples=math.ceil(examples / self._parts))
        return None


def autocast(hardware: Hardware) -> torch.autocast:
    """Return a context in which torch computes suitable operations in the hardware's precision."""
    return torch.autocast(hardware.device, torch.bfloat16, enabled=hardware.precision == "bf16")

"""Compute loss and predictions of the validation rows at the end of an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from modelworks.data.splits import VALIDATION
from modelworks.errors import BadInput
from modelworks.preprocessing.batch_sampler import in_order
from modelworks.training.optimization.train_step import autocast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from modelworks.objectives.base import Objective
    from modelworks.objectives.row_statistics import Columns
    from modelworks.preprocessing.preprocessed import PreprocessedDataset
    from modelworks.training.data_loader import Feed
    from modelworks.training.distributed.context import World
    from modelworks.training.hardware import Hardware

__all__ = ["Validated", "validate"]

BATCH = 256
"""Minimum number of examples per batch; without gradients they need little memory."""


@dataclass(frozen=True, eq=False)
class Validated:
    """Loss and predictions of the validation rows, the same in every process."""

    loss: float
    """Mean loss over the rows."""
    predicted: Columns
    truth: Columns

    def metrics(self, objective: Objective) -> dict[str, float]:
        """Return `validation_loss`, and `validation_NAME` for every metric of the objective."""
        estimates = objective.point_estimates(self.predicted, self.truth)
        return {"validation_loss": self.loss, **{f"validation_{name}": value for name, value in estimates.items()}}


def validate(
    model: nn.Module, data: PreprocessedDataset, feed: Feed, batch_size: int, hardware: Hardware, world: World
) -> Validated | None:
    """Return loss and predictions of the validation rows; None without such rows.

    When memory runs out, the number of rows per forward pass is halved.

    Raises:
        BadInput: one row does not fit into memory, or memory runs out in a process of a sharded model.
    """
    indices = np.flatnonzero(data.splits == VALIDATION)
    if not len(indices):
        return None
    size = max(BATCH, batch_size)
    order = in_order(indices, data.processor.lengths(data.inputs), size)
    objective, sums = data.objective, torch.zeros(2, device=hardware.device)
    own: list[tuple[np.ndarray, Columns]] = []
    training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in feed.batches(order):
            while True:
                try:
                    with autocast(hardware):
                        outputs = _outputs(model, batch.inputs, size)
                    break
                except torch.OutOfMemoryError as error:
                    size = min(size, batch.num_examples) // 2
                    if world.sharded or not size:  # forward of a sharded model is collective
                        raise BadInput(
                            f"out of memory in validation: {str(error).splitlines()[0]}",
                            "use a smaller model or smaller inputs, or shard the model with compute.shard",
                            code="training.memory",
                        ) from None
            copies = world.copies(batch.rows)
            sums[0] += objective.loss(outputs, batch.targets, training=False) / copies
            sums[1] += objective.weight(batch.targets, training=False) / copies
            own.append((world.part(batch.rows), objective.predict(outputs)))
    model.train(training)
    loss, weight = world.all_reduce(sums).tolist()
    return Validated(
        loss=loss / weight,
        predicted=_in_order(indices, [part for parts in world.all_gather(own) for part in parts]),
        truth={name: each[indices] for name, each in data.targets.items()},
    )


def _in_order(indices: np.ndarray, parts: list[tuple[np.ndarray, Columns]]) -> Columns:
    """Concatenate predicted columns of parts of the rows, in the order of the sorted `indices`."""
    columns: dict[str, np.ndarray] = {}
    for rows, predicted in parts:
        places = np.searchsorted(indices, rows)
        for name, values in predicted.items():
            if name not in columns:
                columns[name] = np.empty((len(indices), *values.shape[1:]), values.dtype)
            columns[name][places] = values
    return columns


def _outputs(model: nn.Module, inputs: Mapping[str, torch.Tensor], size: int) -> torch.Tensor:
    """Return float32 outputs, computed for at most `size` rows at a time."""
    parts = zip(*(torch.split(each, size) for each in inputs.values()), strict=True)
    return torch.cat([model(**dict(zip(inputs, part, strict=True))).float() for part in parts])

"""Compute the metrics of the validation rows at the end of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from modelworks.data.splits import VALIDATION
from modelworks.errors import BadInput
from modelworks.preprocessing.batch_sampler import in_order
from modelworks.training.optimization.train_step import autocast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from modelworks.preprocessing.preprocessed import PreprocessedDataset
    from modelworks.training.data_loader import Feed
    from modelworks.training.distributed.context import World
    from modelworks.training.hardware import Hardware

__all__ = ["validate"]

BATCH = 256
"""Smallest number of examples in a batch: without gradients they need little memory."""


def validate(
    model: nn.Module, data: PreprocessedDataset, feed: Feed, batch_size: int, hardware: Hardware, world: World
) -> dict[str, float]:
    """Return `validation_loss` (mean) and `validation_accuracy`; {} without validation rows.

    When memory runs out, half as many rows are computed at a time from then on.

    Raises:
        BadInput: memory runs out on one row, or in one of the processes of a sharded model.
    """
    indices = np.flatnonzero(data.splits == VALIDATION)
    if not len(indices):
        return {}
    size = max(BATCH, batch_size)
    order = in_order(indices, data.input.lengths(data.arrays), size)
    sums = torch.zeros(2, device=hardware.device)
    training = model.training
    model.eval()
    with torch.inference_mode(), autocast(hardware):
        for batch in feed.batches(order):
            while True:
                try:
                    logits = _logits(model, batch.inputs, size)
                    break
                except torch.OutOfMemoryError as error:
                    size = min(size, len(batch.target)) // 2
                    if world.sharded or not size:  # processes of a sharded model call it together
                        raise BadInput(
                            f"memory does not suffice for validation: {str(error).splitlines()[0]}",
                            "take a smaller model or smaller inputs, or divide it among more processes: compute.shard",
                        ) from None
            copies = world.copies(batch.rows)
            sums[0] += functional.cross_entropy(logits, batch.target, reduction="sum") / copies
            sums[1] += (logits.argmax(-1) == batch.target).sum() / copies
    model.train(training)
    loss, correct = world.total(sums).tolist()
    return {"validation_loss": loss / len(indices), "validation_accuracy": correct / len(indices)}


def _logits(model: nn.Module, inputs: Mapping[str, torch.Tensor], size: int) -> torch.Tensor:
    """Return float32 logits (n, classes), computed for at most `size` rows at a time."""
    parts = zip(*(torch.split(each, size) for each in inputs.values()), strict=True)
    return torch.cat([model(**dict(zip(inputs, part, strict=True))).float() for part in parts])

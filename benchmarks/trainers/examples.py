"""The rows in the usual form for other libraries: a data set of examples, padded by a collator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from modelworks.training.optimization.lr_schedule import learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.trainers.rows import Rows
    from modelworks.training.job import Job

__all__ = ["Images", "as_usual", "loader", "relative_rate", "texts"]


class Images(Dataset[dict[str, Any]]):
    """Normalised images, so that the other libraries only stack them."""

    def __init__(self, rows: Rows) -> None:
        self._pixels, self._labels = rows.pixels().contiguous(), rows.labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {"pixels": self._pixels[place], "labels": self._labels[place]}


def texts(rows: Rows) -> list[dict[str, Any]]:
    """Return the tokenized texts."""
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(rows.texts(), rows.labels.tolist(), strict=True)
    ]


def as_usual(network: nn.Module) -> nn.Module:
    """Return the network without our optimizations: channels last and the reduced last layer."""
    for module in network.modules():
        module._forward_pre_hooks.clear()  # noqa: SLF001  # torch removes only hooks with a stored handle
    return network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack memory_format alone


def loader(job: Job, rows: Rows) -> DataLoader[Any]:
    """Return torch's DataLoader with its defaults; batches are `({input name: tensor}, labels)`."""
    if rows.lengths is None:
        return DataLoader(Images(rows), job.train.batch_size, shuffle=True, collate_fn=_stacked)
    padding = int(rows.data.processor.spec["padding"])
    return DataLoader(texts(rows), job.train.batch_size, shuffle=True, collate_fn=lambda batch: _padded(batch, padding))  # type: ignore[arg-type]  # a list is a data set too


def relative_rate(job: Job, num_steps: int) -> Callable[[int], float]:
    """Return the learning rate of each step relative to the maximum."""
    rate_of = learning_rate(job.train, num_steps)
    return lambda step: rate_of(min(step, num_steps - 1)) / job.train.learning_rate


def _stacked(batch: list[dict[str, Any]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    return {"pixels": torch.stack([each["pixels"] for each in batch])}, torch.stack([each["labels"] for each in batch])


def _padded(batch: list[dict[str, Any]], padding: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(each["input_ids"]) for each in batch], True, padding)
    lengths = torch.tensor([len(each["input_ids"]) for each in batch])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    return {"tokens": ids, "mask": mask}, torch.tensor([each["labels"] for each in batch])

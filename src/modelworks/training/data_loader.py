"""What the loop is fed with: batches of the decoded set on the training's device, by index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from modelworks.data.splits import TRAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from modelworks.preprocessing.preprocessed import PreprocessedDataset
    from modelworks.training.hardware import Hardware

__all__ = ["Feed"]

RELEASE_ROWS = 256
"""Pages are given back after so many rows: reading one maps its neighbours as well, 64 KB or so."""
SHARE = 0.4
"""Of the GPU's free memory: a decoded set that needs no more than this lives there."""


class Feed:
    """Cuts batches out of a decoded set.

    On a CPU a batch is a slice of the memory-mapped arrays; of a large set its rows are read from the file. On a GPU
    the arrays lie there when they fit; otherwise the next batch is sliced and copied, from pinned memory, while the
    present one is computed.
    """

    def __init__(self, data: PreprocessedDataset, hardware: Hardware, class_weights: str) -> None:
        self._data, self._device = data, hardware.device
        self._arrays = dict(data.arrays)
        self._rows = 0
        resident = self._device == "cuda" and _fits(data)
        if resident:
            self._arrays |= {name: self._arrays[name].to(self._device) for name in data.input.resident}
        self._labels = torch.from_numpy(data.labels).to(self._device)
        self.weights = _class_weights(data).to(self._device) if class_weights == "balanced" else None
        """float32 (classes,), or None."""
        self._files = {} if resident else data.files
        copies = self._device == "cuda" and not resident
        self._stream = torch.cuda.Stream() if copies else None  # type: ignore[no-untyped-call]  # torch leaves it so

    def batches(
        self, order: Iterable[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor], torch.Tensor]]:
        """For each batch of rows: the rows, the model's input and the labels (n,), both on the device."""
        if self._stream is None:
            for rows in order:
                yield rows, *self._cut(rows)
            return
        ahead = None
        for rows in order:
            # The memory of the batch before last is free to be taken again, and the GPU may not be done with it.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                following = rows, *self._cut(rows)
            if ahead is not None:
                yield ahead
            torch.cuda.current_stream().wait_stream(self._stream)
            ahead = following
        if ahead is not None:
            yield ahead

    def _cut(self, rows: np.ndarray) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        self._rows += len(rows)
        if self._rows >= RELEASE_ROWS:
            self._rows = 0
            self._data.release()
        indices = torch.from_numpy(rows)
        labels = self._labels[indices.to(self._device, non_blocking=True)]
        if self._files:
            arrays = {name: torch.from_numpy(file.read(rows)) for name, file in self._files.items()}
            return self._data.input.batch(arrays, torch.arange(len(rows)), self._device), labels
        return self._data.input.batch(self._arrays, indices, self._device), labels


def _fits(data: PreprocessedDataset) -> bool:
    free, _ = torch.cuda.mem_get_info()
    return sum(data.arrays[name].nbytes for name in data.input.resident) <= SHARE * free


def _class_weights(data: PreprocessedDataset) -> torch.Tensor:
    """Inverse to the number of training rows of each class, 1 on the average row; a class without rows weighs 0."""
    counts = np.bincount(data.labels[data.splits == TRAIN], minlength=int(data.labels.max()) + 1)
    present = counts > 0
    weights = np.zeros(len(counts), np.float32)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return torch.from_numpy(weights)

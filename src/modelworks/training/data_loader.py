"""Load batches of the decoded set onto the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from modelworks.preprocessing.preprocessed import PreprocessedDataset
    from modelworks.training.distributed.context import World
    from modelworks.training.hardware import Hardware

__all__ = ["Batch", "Feed"]

RELEASE_ROWS = 256
"""Number of rows after which mapped pages are released; reading a row maps about 64 KB around it."""
SHARE = 0.4
"""Maximum share of the GPU's free memory for a copy of the decoded set."""


@dataclass(frozen=True)
class Batch:
    """One batch, or this process's share of it, on the device."""

    rows: np.ndarray
    """int64, the rows of the batch over all processes."""
    inputs: dict[str, torch.Tensor]
    """Inputs of the model, one row per example of this process's share."""
    targets: dict[str, torch.Tensor]
    """Targets of the objective, likewise."""

    @property
    def num_examples(self) -> int:
        """Number of examples in this process's share."""
        return len(next(iter(self.inputs.values())))


class Feed:
    """Loads batches of a decoded set.

    On a CPU a batch is indexed from the memory-mapped arrays; the rows of a large set are read from its file. On a GPU
    the arrays are copied there when they fit; otherwise the next batch is copied from pinned memory while the current
    one is computed.
    """

    def __init__(self, data: PreprocessedDataset, hardware: Hardware, world: World) -> None:
        self._data, self._device, self._world = data, hardware.device, world
        self._inputs = dict(data.inputs)
        self._num_read = 0
        resident = self._device == "cuda" and _fits(data)
        if resident:
            self._inputs |= {name: self._inputs[name].to(self._device) for name in data.processor.resident}
        self._targets = {name: torch.from_numpy(each).to(self._device) for name, each in data.targets.items()}
        self._files = {} if resident else data.files
        copies = self._device == "cuda" and not resident
        self._stream = torch.cuda.Stream() if copies else None  # type: ignore[no-untyped-call]  # torch leaves it so

    def batches(self, order: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yield a batch for each array of rows."""
        if self._stream is None:
            yield from map(self._load, order)
            return
        ready = None
        for rows in order:
            # Loading may reuse the memory of the batch before last, which the GPU may still be using.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                following = self._load(rows)
            if ready is not None:
                yield ready
            torch.cuda.current_stream().wait_stream(self._stream)
            ready = following
        if ready is not None:
            yield ready

    def _load(self, rows: np.ndarray) -> Batch:
        share = self._world.part(rows)
        self._num_read += len(share)
        if self._num_read >= RELEASE_ROWS:
            self._num_read = 0
            self._data.release()
        indices = torch.from_numpy(share)
        targets = self._data.objective.collate(self._targets, indices, self._device)
        if self._files:
            arrays = {name: torch.from_numpy(file.read(share)) for name, file in self._files.items()}
            inputs = self._data.processor.collate(arrays, torch.arange(len(share)), self._device)
        else:
            inputs = self._data.processor.collate(self._inputs, indices, self._device)
        return Batch(rows, inputs, targets)


def _fits(data: PreprocessedDataset) -> bool:
    free, _ = torch.cuda.mem_get_info()
    return sum(data.inputs[name].nbytes for name in data.processor.resident) <= SHARE * free

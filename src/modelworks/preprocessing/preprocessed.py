"""Decode once: arrays that training slices by index, memory-mapped, kept under a key.

The key belongs to the caller and stands for everything the arrays depend on: the rows, their splits, and how the
modality prepares them. Rows are read, decoded and written some at a time; of a large set, rows are then read from
their file and mapped pages are given back: memory does not grow with the set.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
from collections.abc import Callable, Collection, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from modelworks.data import dataset_format
from modelworks.data.random_access import FileRows
from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.files.atomic_files import write_json
from modelworks.files.manifests import damage
from modelworks.pipeline.change_guard import confirmed
from modelworks.pipeline.stage_store import StageStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch

__all__ = ["Input", "PreprocessedDataset", "preprocessed"]

ARRAYS = "arrays.json"
SMALL = 2**26
"""Bytes of arrays that need no care."""


class Input(Protocol):
    """What every modality's `Input` can do."""

    spec: dict[str, Any]
    resident: tuple[str, ...]
    """Names of the arrays that may live on the device."""

    @property
    def shape(self) -> dict[str, int]: ...
    def save(self, folder: Path) -> None: ...
    def decode(self, contents: Any) -> dict[str, np.ndarray]: ...
    def arrange(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]: ...
    def lengths(self, arrays: Mapping[str, torch.Tensor]) -> np.ndarray | None: ...
    def blank(self, device: str) -> torch.Tensor | None: ...
    def batch(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str = "cpu"
    ) -> dict[str, torch.Tensor]: ...


@dataclass(frozen=True)
class PreprocessedDataset:
    """The training and validation rows, ready to be cut into batches."""

    arrays: Mapping[str, torch.Tensor]
    """What the modality's `Input.batch` slices."""
    labels: np.ndarray
    """int64, index into the classes."""
    splits: np.ndarray
    """int8, TRAIN or VALIDATION."""
    ids: np.ndarray
    """uint64, the first eight bytes of each row's id."""
    input: Input
    mappings: tuple[mmap.mmap, ...] = ()
    """The files that the arrays are mapped from."""
    files: Mapping[str, FileRows] = field(default_factory=dict)
    """The arrays again, to read rows of a large set from; empty where it is small or not one row to an example."""

    def release(self) -> None:
        """Give pages that were read back to the system, which keeps them as long as it has room.

        A small set stays where it is: to map its pages again costs more than they do.
        """
        if sum(map(len, self.mappings)) > SMALL:
            for mapping in self.mappings:
                mapping.madvise(mmap.MADV_DONTNEED)


def preprocessed(
    store: Path,
    key: str,
    dataset: Path,
    digest: str,
    splits: np.ndarray,
    classes: tuple[str, ...],
    *,
    fit: Callable[[Collection[Any]], Input],
    load: Callable[[dict[str, Any], Path], Input],
) -> PreprocessedDataset:
    """The decoded set under a key, made if it is not there or damaged.

    Args:
        store: the folder that keeps decoded sets.
        key: of this one.
        dataset: the folder of the packed data set.
        digest: of that folder.
        splits: int8, one code per row of the dataset's examples; test and quarantined rows are left out.
        fit: learns an Input from the contents of the training rows.
        load: makes an Input from its spec and its folder.
    """
    decodings = StageStore(store)
    folder = decodings.folder("decoded", key)
    with _one_at_a_time(folder.parent):
        state = decodings.state("decoded", key)
        if state == "damaged":
            logging.getLogger(__name__).warning("%s: %s: the rows are decoded again", folder, damage(folder))
        if state != "intact":
            decodings.clear_leftovers("decoded")
            with (
                decodings.write("decoded", key, {}) as aside,
                confirmed(lambda: dataset_format.confirm(dataset, digest, decodings.memo)),
            ):
                _make(aside, dataset, splits, classes, fit)
    arrays, mappings, files = {}, [], {}
    for name, (kind, shape) in json.loads((folder / ARRAYS).read_text()).items():
        path = folder / f"{name}.bin"
        arrays[name], mapping = _mapped(path, np.dtype(kind), shape)
        mappings += [mapping] if mapping is not None else []
        if len(shape) > 1 and path.stat().st_size > SMALL:
            files[name] = FileRows(path, np.dtype(kind), shape)
    own = load(json.loads((folder / "input.json").read_text()), folder)
    return PreprocessedDataset(
        arrays=own.arrange(arrays),
        labels=np.load(folder / "labels.npy", allow_pickle=False),
        splits=np.load(folder / "splits.npy", allow_pickle=False),
        ids=np.load(folder / "ids.npy", allow_pickle=False),
        input=own,
        mappings=tuple(mappings),
        files=files if len(files) == len(arrays) else {},
    )


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Pipelines that train at once may want the same rows: the second waits and finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mapped(path: Path, kind: np.dtype[Any], shape: Sequence[int]) -> tuple[np.ndarray, mmap.mmap | None]:
    """An array over a file. Writable to torch's content, but a write would never reach the file."""
    if path.stat().st_size == 0:
        return np.empty(shape, kind), None
    with path.open("rb") as stream:
        mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.frombuffer(mapping, kind).reshape(shape), mapping


class _Contents(Collection[Any]):
    """The contents of chosen rows, read anew each time they are gone through."""

    def __init__(self, dataset: Path, column: str, chosen: np.ndarray) -> None:
        self._dataset, self._column, self._chosen = dataset, column, chosen

    def __len__(self) -> int:
        return int(self._chosen.sum())

    def __iter__(self) -> Iterator[Any]:
        for columns in _chunks(self._dataset, [self._column], self._chosen):
            yield from columns[self._column]

    def __contains__(self, content: object) -> bool:
        return any(content == each for each in self)


def _chunks(dataset: Path, columns: Sequence[str], chosen: np.ndarray) -> Iterator[dict[str, list[Any]]]:
    """Columns of the chosen rows, as Python values, some rows at a time."""
    start = 0
    for batch in dataset_format.stream(dataset, columns):
        kept = np.flatnonzero(chosen[start : start + len(batch)])
        start += len(batch)
        if len(kept) < len(batch):
            import pyarrow as pa

            # Not pa.array(kept): that would import pandas.
            batch = batch.take(pa.Array.from_buffers(pa.int64(), len(kept), [None, pa.py_buffer(kept)]))
        if len(kept):
            yield {name: batch.column(name).to_pylist() for name in columns}


def _make(
    aside: Path,
    dataset: Path,
    splits: np.ndarray,
    classes: tuple[str, ...],
    fit: Callable[[Collection[Any]], Input],
) -> None:
    content = dataset_format.describe(dataset)["modality"]
    input_ = fit(_Contents(dataset, content, splits == TRAIN))
    index_of = {label: index for index, label in enumerate(classes)}
    labels, ids = [], []
    shapes: dict[str, tuple[str, list[int]]] = {}
    for columns in _chunks(dataset, ["id", "label", content], (splits == TRAIN) | (splits == VALIDATION)):
        labels.append(np.array([index_of[label] for label in columns["label"]], dtype=np.int64))
        ids.append(np.array([int(each[:16], 16) for each in columns["id"]], dtype=np.uint64))
        for name, array in input_.decode(columns[content]).items():
            with (aside / f"{name}.bin").open("ab") as stream:
                array.tofile(stream)
            rows = len(array) + (shapes[name][1][0] if name in shapes else 0)
            shapes[name] = (array.dtype.str, [rows, *array.shape[1:]])
    dataset_format.forget_read()
    for name, each in (
        ("labels", np.concatenate(labels)),
        ("splits", splits[(splits == TRAIN) | (splits == VALIDATION)]),
        ("ids", np.concatenate(ids)),
    ):
        np.save(aside / f"{name}.npy", each, allow_pickle=False)
    input_.save(aside)
    write_json(aside / "input.json", input_.spec)
    write_json(aside / ARRAYS, shapes)

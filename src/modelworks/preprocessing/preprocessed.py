"""Decode once: arrays that training slices by index, memory-mapped, kept under a key.

The key belongs to the caller and covers everything the stored files depend on: the rows, their splits, and how the
modality prepares them. Rows are read, decoded and written some at a time; rows of a large set are later read from
their file and mapped pages are given back: memory does not grow with the set. Targets are stored as the data set has
them and encoded at every start, so that another setting of the objective decodes nothing again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modelworks.data import dataset_format
from modelworks.data.features import inputs as input_features
from modelworks.data.features import targets as target_features
from modelworks.data.random_access import FileRows
from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.files.atomic_files import write_json
from modelworks.files.manifests import damage
from modelworks.pipeline.change_guard import confirmed
from modelworks.pipeline.stage_store import StageStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    import torch

    from modelworks.data.features import Features
    from modelworks.modalities.base import Processor
    from modelworks.objectives.base import Objective

__all__ = ["PreprocessedDataset", "preprocessed"]

ARRAYS = "arrays.json"
FEATURES = "features.json"
TARGETS = "targets.parquet"
SMALL = 2**26
"""Bytes of arrays that need no care."""


@dataclass(frozen=True)
class PreprocessedDataset:
    """The training and validation rows, ready to be cut into batches."""

    inputs: Mapping[str, torch.Tensor]
    """What the processor's `collate` slices."""
    targets: Mapping[str, np.ndarray]
    """What the objective's `encode` makes of the target columns."""
    splits: np.ndarray
    """int8, TRAIN or VALIDATION."""
    ids: np.ndarray
    """uint64, the first eight bytes of each row's id."""
    processor: Processor
    objective: Objective
    mappings: tuple[mmap.mmap, ...] = ()
    """The files that the inputs are mapped from."""
    files: Mapping[str, FileRows] = field(default_factory=dict)
    """The inputs again, to read rows of a large set from; empty where it is small or not one row to an example."""

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
    *,
    fit: Callable[[Collection[Any]], Processor],
    load: Callable[[dict[str, Any], Path], Processor],
    fit_objective: Callable[[Features, Iterable[Mapping[str, Sequence[Any]]]], Objective],
) -> PreprocessedDataset:
    """The decoded set under a key, made if it is not there or damaged.

    Args:
        store: the folder that keeps decoded sets.
        key: of this one.
        dataset: the folder of the packed data set.
        digest: of that folder.
        splits: int8, one code per row of the dataset's examples; test and quarantined rows are left out.
        fit: learns a processor from the contents of the training rows.
        load: makes a processor from its spec and its folder.
        fit_objective: makes the objective from the target features and the targets of the training rows.
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
                _make(aside, dataset, splits, fit)
    arrays, mappings, files = {}, [], {}
    for name, (kind, shape) in json.loads((folder / ARRAYS).read_text()).items():
        path = folder / f"{name}.bin"
        arrays[name], mapping = _mapped(path, np.dtype(kind), shape)
        mappings += [mapping] if mapping is not None else []
        if len(shape) > 1 and path.stat().st_size > SMALL:
            files[name] = FileRows(path, np.dtype(kind), shape)
    processor = load(json.loads((folder / "input.json").read_text()), folder)
    own_splits = np.load(folder / "splits.npy", allow_pickle=False)
    features = json.loads((folder / FEATURES).read_text())
    objective = fit_objective(features, _targets(folder, features, own_splits == TRAIN))
    return PreprocessedDataset(
        inputs=processor.arrange(arrays),
        targets=_encoded(objective, _targets(folder, features, np.ones(len(own_splits), np.bool_))),
        splits=own_splits,
        ids=np.load(folder / "ids.npy", allow_pickle=False),
        processor=processor,
        objective=objective,
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
        for columns in _chunks(dataset_format.stream(self._dataset, [self._column]), self._chosen):
            yield from columns[self._column]

    def __contains__(self, content: object) -> bool:
        return any(content == each for each in self)


def _chunks(batches: Iterable[pa.RecordBatch], chosen: np.ndarray) -> Iterator[dict[str, list[Any]]]:
    """The chosen rows, as Python values by column, some rows at a time."""
    start = 0
    for batch in batches:
        kept = np.flatnonzero(chosen[start : start + len(batch)])
        start += len(batch)
        if len(kept) < len(batch):
            import pyarrow as pa

            # Not pa.array(kept): that would import pandas.
            batch = batch.take(pa.Array.from_buffers(pa.int64(), len(kept), [None, pa.py_buffer(kept)]))
        if len(kept):
            yield {name: batch.column(name).to_pylist() for name in batch.schema.names}


def _targets(folder: Path, features: Features, chosen: np.ndarray) -> Iterator[dict[str, list[Any]]]:
    """The stored target columns of the chosen rows, as Python values, some rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet

    with pa.parquet.ParquetFile(folder / TARGETS) as file:
        yield from _chunks(file.iter_batches(4096, columns=list(features)), chosen)


def _encoded(objective: Objective, rows: Iterable[Mapping[str, Sequence[Any]]]) -> dict[str, np.ndarray]:
    parts = [objective.encode(columns) for columns in rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _make(aside: Path, dataset: Path, splits: np.ndarray, fit: Callable[[Collection[Any]], Processor]) -> None:
    """Write the training and validation rows: decoded inputs, target columns, splits, ids and the processor."""
    features = dataset_format.features(dataset_format.describe(dataset))
    targets = target_features(features)
    (content,) = input_features(features)
    processor = fit(_Contents(dataset, content, splits == TRAIN))
    chosen = (splits == TRAIN) | (splits == VALIDATION)
    ids = []
    shapes: dict[str, tuple[str, list[int]]] = {}
    with _target_writer(aside / TARGETS, targets) as write_targets:
        for columns in _chunks(dataset_format.stream(dataset, ["id", content, *targets]), chosen):
            write_targets(columns)
            ids.append(np.array([int(each[:16], 16) for each in columns["id"]], dtype=np.uint64))
            for name, array in processor.decode(columns[content]).items():
                with (aside / f"{name}.bin").open("ab") as stream:
                    array.tofile(stream)
                rows = len(array) + (shapes[name][1][0] if name in shapes else 0)
                shapes[name] = (array.dtype.str, [rows, *array.shape[1:]])
    dataset_format.forget_read()
    np.save(aside / "splits.npy", splits[chosen], allow_pickle=False)
    np.save(aside / "ids.npy", np.concatenate(ids), allow_pickle=False)
    processor.save(aside)
    write_json(aside / "input.json", processor.spec)
    write_json(aside / FEATURES, targets)
    write_json(aside / ARRAYS, shapes)


@contextmanager
def _target_writer(path: Path, targets: Features) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write target columns of Python values to a Parquet file, some rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet

    types = {"label": pa.string(), "labels": pa.list_(pa.string()), "number": pa.float64()}
    schema = pa.schema([(name, types[feature["kind"]]) for name, feature in targets.items()])
    with pa.parquet.ParquetWriter(path, schema) as writer:
        yield lambda columns: writer.write_table(pa.table({name: columns[name] for name in targets}, schema=schema))

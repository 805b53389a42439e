"""Decode the rows once into memory-mapped arrays, cached under a key.

The caller computes the key from everything the cached files depend on: the rows, their splits, and the modality's
settings. Rows are decoded and written in chunks. Rows of a large set are later read from their file and mapped pages
are released, so memory does not grow with the set. Targets are cached unencoded and encoded at every start, so that a
change of the objective's settings decodes nothing again.
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
"""Size in bytes up to which arrays stay mapped."""


@dataclass(frozen=True)
class PreprocessedDataset:
    """The training and validation rows, ready to be batched."""

    inputs: Mapping[str, torch.Tensor]
    """Arrays for the processor's `collate`."""
    targets: Mapping[str, np.ndarray]
    """The target columns, encoded by the objective."""
    splits: np.ndarray
    """int8, TRAIN or VALIDATION."""
    ids: np.ndarray
    """uint64, the first eight bytes of each row's id."""
    processor: Processor
    objective: Objective
    mappings: tuple[mmap.mmap, ...] = ()
    """The files that the inputs are mapped from."""
    files: Mapping[str, FileRows] = field(default_factory=dict)
    """The input files of a large set, to read single rows; empty for a small set or texts."""

    def release(self) -> None:
        """Release mapped pages to the system.

        A small set stays mapped: mapping its pages again costs more than the memory saved.
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
    """Return the decoded set under a key; decode it if it is missing or damaged.

    Args:
        store: the folder of decoded sets.
        key: of this set.
        dataset: the data set's folder.
        digest: of that folder.
        splits: int8, one code per row of the data set; test and quarantined rows are left out.
        fit: fits a processor to the contents of the training rows.
        load: creates a processor from its spec and its folder.
        fit_objective: creates the objective from the target features and the targets of the training rows.
    """
    decodings = StageStore(store)
    folder = decodings.folder("decoded", key)
    with _locked(folder.parent):
        state = decodings.state("decoded", key)
        if state == "damaged":
            logging.getLogger(__name__).warning("%s: %s: the rows are decoded again", folder, damage(folder))
        if state != "intact":
            decodings.clear_leftovers("decoded")
            with (
                decodings.write("decoded", key, {}) as temporary,
                confirmed(lambda: dataset_format.confirm(dataset, digest, decodings.memo)),
            ):
                _decode(temporary, dataset, splits, fit)
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
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that one of two concurrent pipelines decodes and the other waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mapped(path: Path, kind: np.dtype[Any], shape: Sequence[int]) -> tuple[np.ndarray, mmap.mmap | None]:
    """Map a file copy-on-write: torch requires a writable array, and the file is not changed."""
    if path.stat().st_size == 0:
        return np.empty(shape, kind), None
    with path.open("rb") as stream:
        mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.frombuffer(mapping, kind).reshape(shape), mapping


class _Contents(Collection[Any]):
    """The contents of chosen rows, read again on each iteration."""

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
    """Yield the chosen rows in chunks, as Python values by column."""
    start = 0
    for batch in batches:
        kept = np.flatnonzero(chosen[start : start + len(batch)])
        start += len(batch)
        if len(kept) < len(batch):
            import pyarrow as pa

            # pa.array(kept) would import pandas.
            batch = batch.take(pa.Array.from_buffers(pa.int64(), len(kept), [None, pa.py_buffer(kept)]))
        if len(kept):
            yield {name: batch.column(name).to_pylist() for name in batch.schema.names}


def _targets(folder: Path, features: Features, chosen: np.ndarray) -> Iterator[dict[str, list[Any]]]:
    """Yield the cached target columns of the chosen rows in chunks, as Python values."""
    import pyarrow as pa
    import pyarrow.parquet

    with pa.parquet.ParquetFile(folder / TARGETS) as file:
        yield from _chunks(file.iter_batches(4096, columns=list(features)), chosen)


def _encoded(objective: Objective, rows: Iterable[Mapping[str, Sequence[Any]]]) -> dict[str, np.ndarray]:
    parts = [objective.encode(columns) for columns in rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _decode(folder: Path, dataset: Path, splits: np.ndarray, fit: Callable[[Collection[Any]], Processor]) -> None:
    """Write decoded inputs, targets, splits and ids of training and validation rows."""
    features = dataset_format.features(dataset_format.describe(dataset))
    targets = target_features(features)
    (content,) = input_features(features)
    processor = fit(_Contents(dataset, content, splits == TRAIN))
    chosen = (splits == TRAIN) | (splits == VALIDATION)
    ids = []
    shapes: dict[str, tuple[str, list[int]]] = {}
    with _target_writer(folder / TARGETS, targets) as write_targets:
        for columns in _chunks(dataset_format.stream(dataset, ["id", content, *targets]), chosen):
            write_targets(columns)
            ids.append(np.array([int(each[:16], 16) for each in columns["id"]], dtype=np.uint64))
            for name, array in processor.decode(columns[content]).items():
                with (folder / f"{name}.bin").open("ab") as stream:
                    array.tofile(stream)
                rows = len(array) + (shapes[name][1][0] if name in shapes else 0)
                shapes[name] = (array.dtype.str, [rows, *array.shape[1:]])
    dataset_format.clear_cache()
    np.save(folder / "splits.npy", splits[chosen], allow_pickle=False)
    np.save(folder / "ids.npy", np.concatenate(ids), allow_pickle=False)
    processor.save(folder)
    write_json(folder / "input.json", processor.spec)
    write_json(folder / FEATURES, targets)
    write_json(folder / ARRAYS, shapes)


@contextmanager
def _target_writer(path: Path, targets: Features) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Open a Parquet file and yield a function that appends target columns of Python values."""
    import pyarrow as pa
    import pyarrow.parquet

    types = {"label": pa.string(), "labels": pa.list_(pa.string()), "number": pa.float64()}
    schema = pa.schema([(name, types[feature["kind"]]) for name, feature in targets.items()])
    with pa.parquet.ParquetWriter(path, schema) as writer:
        yield lambda columns: writer.write_table(pa.table({name: columns[name] for name in targets}, schema=schema))

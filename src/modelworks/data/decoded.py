"""Decode once: arrays that training slices by index, memory-mapped, kept under a key.

The key belongs to the caller and stands for everything the arrays depend on: the rows, their splits, and how the
modality prepares them.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from modelworks.data import packed
from modelworks.data.packed import TRAIN, VALIDATION
from modelworks.store import StageStore, read_manifest, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

__all__ = ["DecodedSet", "Input", "decoded"]


class Input(Protocol):
    """What every modality's `Input` can do."""

    spec: dict[str, Any]

    @property
    def shape(self) -> dict[str, int]: ...
    def save(self, folder: Path) -> None: ...
    def decode(self, contents: Any) -> dict[str, np.ndarray]: ...
    def lengths(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None: ...
    def batch(
        self, arrays: Mapping[str, np.ndarray], indices: np.ndarray, device: str = "cpu"
    ) -> dict[str, torch.Tensor]: ...


@dataclass(frozen=True)
class DecodedSet:
    """The training and validation rows, ready to be cut into batches."""

    arrays: Mapping[str, np.ndarray]
    """What the modality's `Input.batch` slices."""
    labels: np.ndarray
    """int64, index into the classes."""
    splits: np.ndarray
    """int8, TRAIN or VALIDATION."""
    ids: np.ndarray
    """uint64, the first eight bytes of each row's id."""
    input: Input


def decoded(
    store: Path,
    key: str,
    dataset: Path,
    splits: np.ndarray,
    classes: tuple[str, ...],
    *,
    fit: Callable[[Any], Input],
    load: Callable[[dict[str, Any], Path], Input],
) -> DecodedSet:
    """The decoded set under a key, made if it is not there or damaged.

    Args:
        store: the folder that keeps decoded sets.
        splits: int8, one code per row of the dataset's examples; test and quarantined rows are left out.
        fit: learns an Input from the contents of the training rows.
        load: makes an Input from its spec and its folder.
    """
    decodings = StageStore(store)
    folder = decodings.folder("decoded", key)
    with _one_at_a_time(folder.parent):
        if read_manifest(folder) is None:
            decodings.clear_leftovers("decoded")
            with decodings.write("decoded", key, {}) as aside:
                _make(aside, dataset, splits, classes, fit)
    arrays = {
        path.stem.removeprefix("array-"): np.load(path, mmap_mode="r") for path in sorted(folder.glob("array-*.npy"))
    }
    return DecodedSet(
        arrays=arrays,
        labels=np.load(folder / "labels.npy"),
        splits=np.load(folder / "splits.npy"),
        ids=np.load(folder / "ids.npy"),
        input=load(json.loads((folder / "input.json").read_text()), folder),
    )


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Pipelines that train at once may want the same rows: the second waits and finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(
    aside: Path, dataset: Path, splits: np.ndarray, classes: tuple[str, ...], fit: Callable[[Any], Input]
) -> None:
    import pyarrow as pa

    content = packed.describe(dataset)["modality"]
    chosen = np.flatnonzero((splits == TRAIN) | (splits == VALIDATION))
    # Not pa.array(chosen): that would import pandas.
    places = pa.Array.from_buffers(pa.int64(), len(chosen), [None, pa.py_buffer(chosen)])
    table = packed.read(dataset, ["id", "label", content]).take(places)
    contents = table[content].to_pylist()
    kept = splits[chosen]
    input_ = fit([contents[index] for index in np.flatnonzero(kept == TRAIN)])
    for name, array in input_.decode(contents).items():
        np.save(aside / f"array-{name}.npy", array, allow_pickle=False)
    index_of = {label: index for index, label in enumerate(classes)}
    labels = np.array([index_of[label] for label in table["label"].to_pylist()], dtype=np.int64)
    ids = np.array([int(each[:16], 16) for each in table["id"].to_pylist()], dtype=np.uint64)
    for name, array in (("labels", labels), ("splits", kept), ("ids", ids)):
        np.save(aside / f"{name}.npy", array, allow_pickle=False)
    input_.save(aside)
    write_json(aside / "input.json", input_.spec)

"""Score the test rows, per example, with any saved model: the candidate's or an opponent's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from modelworks.data import dataset_format
from modelworks.data.splits import TEST
from modelworks.errors import Corrupt, Refused
from modelworks.models import serialization

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from modelworks.records import ValidationReport

__all__ = ["Predictions", "TestSet", "held_out", "load", "probabilities", "read", "score", "write"]

FILE = "predictions.parquet"


@dataclass(frozen=True, kw_only=True, eq=False)
class TestSet:
    """The rows that no model was trained on, in the order of the data set."""

    rows: npt.NDArray[np.int64]
    """Place of each in examples.parquet."""
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int16]
    """Index of each row's class in the data set's classes."""
    contents: Sequence[bytes] | Sequence[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a model says of the test rows; arrays are (rows,), the probabilities (rows, classes)."""

    rows: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int16]
    predicted: npt.NDArray[np.int16]
    probabilities: npt.NDArray[np.float32]


def held_out(report: ValidationReport) -> TestSet:
    """The usable test rows of a validated data set, with their contents."""
    dataset = report.dataset
    chosen = np.flatnonzero(np.load(report.folder / "splits.npy", allow_pickle=False) == TEST)
    table = dataset_format.read(dataset.folder, ["id", "label", dataset.modality]).take(chosen)
    index = {label: place for place, label in enumerate(dataset.classes)}
    return TestSet(
        rows=chosen.astype(np.int64),
        ids=tuple(table["id"].to_pylist()),
        labels=np.array([index[label] for label in table["label"].to_pylist()], dtype=np.int16),
        contents=table[dataset.modality].to_pylist(),
    )


def load(model_folder: Path, digest: Callable[[Path], str] | None = None) -> serialization.InferenceModel:
    """A saved model, every file verified.

    Args:
        model_folder: where it lies.
        digest: gives a file's SHA-256; None to read every byte.

    Raises:
        Corrupt: the folder is not what was saved.
    """
    try:
        return serialization.load(model_folder, digest)
    except serialization.DamagedModel as error:
        raise Corrupt(f"the saved model is damaged: {error}", "run again: a damaged stage is made again") from error


def probabilities(model: serialization.InferenceModel, rows: TestSet) -> npt.NDArray[np.float32]:
    """float32 (rows, classes).

    Raises:
        Refused: the model answers with numbers that are none.
    """
    found = model.probabilities(rows.contents)
    broken = int((~np.isfinite(found).all(axis=1)).sum())
    if broken:
        raise Refused(
            f"the model's probabilities are not finite on {broken:,} of {len(found):,} test rows",
            "the training has diverged: lower train.learning_rate or set train.clip_norm",
        )
    return found


def score(model_folder: Path, rows: TestSet, digest: Callable[[Path], str] | None = None) -> Predictions:
    """What a saved model says of the test rows.

    Args:
        model_folder: where the model lies.
        rows: the test rows.
        digest: as for `load`.

    Raises:
        Corrupt: the model is damaged.
        Refused: its answers are not finite.
    """
    found = probabilities(load(model_folder, digest), rows)
    return Predictions(
        rows=rows.rows,
        ids=rows.ids,
        labels=rows.labels,
        predicted=found.argmax(axis=1).astype(np.int16),
        probabilities=found,
    )


def write(predictions: Predictions, folder: Path) -> None:
    """Keep the predictions as predictions.parquet: row, id, label, predicted, probabilities."""
    table = pa.table(
        {
            "row": predictions.rows,
            "id": list(predictions.ids),
            "label": predictions.labels,
            "predicted": predictions.predicted,
            "probabilities": _lists(predictions.probabilities),
        }
    )
    pq.write_table(table, folder / FILE, compression="zstd", write_page_checksum=True)


def read(folder: Path) -> Predictions:
    """The predictions that `write` kept.

    Raises:
        Corrupt: the file is missing or damaged.
    """
    try:
        table = pq.read_table(folder / FILE, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(f"{folder / FILE}: {error}", "run again: a damaged stage is made again") from error
    flat = table["probabilities"].combine_chunks().flatten().to_numpy()
    return Predictions(
        rows=table["row"].to_numpy(),
        ids=tuple(table["id"].to_pylist()),
        labels=table["label"].to_numpy(),
        predicted=table["predicted"].to_numpy(),
        probabilities=flat.reshape(table.num_rows, -1),
    )


def _lists(values: npt.NDArray[np.float32]) -> pa.ListArray:
    rows, width = values.shape
    return pa.ListArray.from_arrays(np.arange(0, (rows + 1) * width, width, dtype=np.int32), values.ravel())

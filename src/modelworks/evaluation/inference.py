"""Predict the test rows with a saved model, and store the predictions."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from modelworks.data import dataset_format
from modelworks.data.splits import TEST
from modelworks.errors import Corrupt, Refused
from modelworks.models import serialization
from modelworks.objectives.base import objective_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from modelworks.objectives.base import Objective
    from modelworks.objectives.row_statistics import Columns
    from modelworks.records import ValidationReport

__all__ = ["BASELINE", "Predictions", "TestSet", "held_out", "load", "predict", "read", "score", "write"]

FILE = "predictions.parquet"
BASELINE = "baseline.parquet"
"""File with the trivial baseline's predictions for the same rows."""
METADATA = b"modelworks"
"""Key of the file's metadata with the objective and the names of the truth columns, as JSON."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TestSet:
    """The test rows, in the order of the data set."""

    rows: npt.NDArray[np.int64]
    """Row indices in examples.parquet."""
    ids: tuple[str, ...]
    targets: Mapping[str, Sequence[Any]]
    """The unencoded target columns."""
    contents: Sequence[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """A model's predictions for the test rows; the first axis of every array is the row."""

    rows: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    truth: Columns
    """The targets, encoded by the objective."""
    predicted: Columns
    objective: Objective

    def take(self, places: npt.NDArray[np.int64]) -> Predictions:
        """Return the predictions of some rows."""
        return replace(
            self,
            rows=self.rows[places],
            ids=tuple(self.ids[place] for place in places),
            truth={name: values[places] for name, values in self.truth.items()},
            predicted={name: values[places] for name, values in self.predicted.items()},
        )


def held_out(report: ValidationReport) -> TestSet:
    """Return the usable test rows of a validated data set, with their contents."""
    dataset = report.dataset
    chosen = np.flatnonzero(np.load(report.folder / "splits.npy", allow_pickle=False) == TEST)
    table = dataset_format.read(dataset.folder, ["id", *dataset.targets, dataset.input]).take(chosen)
    return TestSet(
        rows=chosen.astype(np.int64),
        ids=tuple(table["id"].to_pylist()),
        targets={name: table[name].to_pylist() for name in dataset.targets},
        contents=table[dataset.input].to_pylist(),
    )


def load(model_folder: Path, digest: Callable[[Path], str] | None = None) -> serialization.InferenceModel:
    """Verify and load a saved model.

    Args:
        model_folder: of the saved model.
        digest: returns a file's SHA-256; None to read every byte.

    Raises:
        Corrupt: a file differs from the manifest.
    """
    try:
        return serialization.load(model_folder, digest)
    except serialization.DamagedModel as error:
        raise Corrupt(
            f"the saved model is damaged: {error}", "run again: damaged outputs are rebuilt", code="model.damaged"
        ) from error


def predict(model: serialization.InferenceModel, rows: TestSet) -> Columns:
    """Return the predicted columns of the model's objective.

    Raises:
        Refused: a prediction is not a finite number.
    """
    predicted = model.predict(rows.contents)
    finite = np.ones(len(rows.ids), dtype=bool)
    for values in predicted.values():
        if np.issubdtype(values.dtype, np.floating):
            finite &= np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if num_broken := int((~finite).sum()):
        raise Refused(
            f"the model's predictions are not finite on {num_broken:,} of {len(finite):,} test rows",
            "the training has diverged: lower train.learning_rate or set train.clip_norm",
            code="model.not-finite",
        )
    return predicted


def score(model_folder: Path, rows: TestSet, digest: Callable[[Path], str] | None = None) -> Predictions:
    """Return a saved model's predictions for the test rows.

    Args:
        model_folder: of the saved model.
        rows: the test rows.
        digest: as for `load`.

    Raises:
        Corrupt: the model is damaged.
        Refused: a prediction is not a finite number.
    """
    model = load(model_folder, digest)
    predicted = predict(model, rows)
    objective = serialization.read_objective(model_folder)  # metrics use this project's code, not the saved model's
    return Predictions(
        rows=rows.rows, ids=rows.ids, truth=objective.encode(rows.targets), predicted=predicted, objective=objective
    )


def write(predictions: Predictions, folder: Path, name: str = FILE) -> None:
    """Write the predictions as Parquet: row, id, the encoded targets, the predicted columns."""
    table = pa.table(
        {
            "row": predictions.rows,
            "id": list(predictions.ids),
            **{name: _to_arrow(values) for name, values in {**predictions.truth, **predictions.predicted}.items()},
        }
    )
    objective = predictions.objective
    described = {"objective": {"kind": objective.kind, "spec": objective.spec}, "truth": list(predictions.truth)}
    table = table.replace_schema_metadata({METADATA: json.dumps(described).encode()})
    pq.write_table(table, folder / name, compression="zstd", write_page_checksum=True)


def read(folder: Path, name: str = FILE) -> Predictions:
    """Read predictions that `write` stored.

    Raises:
        Corrupt: the file is missing or damaged.
    """
    try:
        table = pq.read_table(folder / name, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(
            f"{folder / name}: {error}", "run again: damaged outputs are rebuilt", code="stage.damaged"
        ) from error
    columns = {each: _to_numpy(table[each]) for each in table.column_names if each not in ("row", "id")}
    described = (table.schema.metadata or {}).get(METADATA)
    if described is None:  # earlier releases had only classification and stored no class names
        width = columns["probabilities"].shape[1]
        kind, spec, truth = "classification", {"classes": [str(place) for place in range(width)]}, ["label"]
    else:
        values = json.loads(described)
        kind, spec, truth = values["objective"]["kind"], values["objective"]["spec"], values["truth"]
    return Predictions(
        rows=table["row"].to_numpy(),
        ids=tuple(table["id"].to_pylist()),
        truth={each: columns[each] for each in truth},
        predicted={each: values for each, values in columns.items() if each not in truth},
        objective=objective_class(kind)(spec),
    )


def _to_arrow(values: npt.NDArray[Any]) -> pa.Array:
    """Convert (rows,) to values and (rows, n) to lists of equal length."""
    if values.ndim == 1:
        return pa.array(values)
    rows, width = values.shape
    return pa.ListArray.from_arrays(np.arange(0, (rows + 1) * width, width, dtype=np.int32), values.ravel())


def _to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    if not pa.types.is_list(column.type):
        return np.asarray(column.to_numpy())
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(column), -1))

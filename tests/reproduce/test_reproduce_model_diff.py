"""The comparison of two saved models reports every changed bit, where it is and how large."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from modelworks.evaluation import inference
from modelworks.files.digest import folder_digests
from modelworks.objectives.classification import Classification
from modelworks.reproduce.model_diff import Comparison, compare

Tensors = dict[str, np.ndarray]
TENSORS: Tensors = {
    "weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "count": np.array(7, dtype=np.int64),
    "odd": np.array([np.nan, -0.0, 0.0], dtype=np.float32),
}
PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], dtype=np.float32)


@pytest.fixture
def against(tmp_path: Path) -> Callable[..., Comparison]:
    """Compare a model with a second one that differs in the given arguments."""

    def write(name: str, tensors: Tensors, probabilities: np.ndarray, ids: tuple[str, ...], spec: str) -> Path:
        folder = tmp_path / name / "model"
        folder.mkdir(parents=True)
        save_file(tensors, folder / "model.safetensors")
        (folder / "model.json").write_text(spec)
        (folder / "manifest.json").write_text(json.dumps(folder_digests(folder)))
        rows = np.arange(len(ids))
        inference.write(
            inference.Predictions(
                rows=rows,
                ids=ids,
                truth={"label": np.zeros(len(ids), np.int64)},
                predicted={
                    "predicted": probabilities.argmax(axis=1).astype(np.int16),
                    "probabilities": probabilities,
                },
                objective=Classification({"classes": ["a", "b"]}),
            ),
            tmp_path / name,
        )
        return tmp_path / name

    def make(
        tensors: Tensors = TENSORS,
        probabilities: np.ndarray = PROBABILITIES,
        ids: tuple[str, ...] = ("a", "b", "c"),
        spec: str = "{}",
    ) -> Comparison:
        first = write("first", TENSORS, PROBABILITIES, ("a", "b", "c"), "{}")
        second = write("second", tensors, probabilities, ids, spec)
        return compare(first / "model", second / "model", registered_predictions=first, rebuilt_predictions=second)

    return make


def test_equal_models_with_nan_are_identical(against: Callable[..., Comparison]) -> None:
    found = against()
    assert found.identical
    assert (found.tensors, found.predictions) == (3, 3)


def test_single_changed_bit_is_reported(against: Callable[..., Comparison]) -> None:
    weight = TENSORS["weight"].copy()
    weight[1, 2] = np.nextafter(weight[1, 2], np.float32(2))
    found = against({**TENSORS, "weight": weight})
    (changed,) = found.different_tensors
    assert not found.identical
    assert (changed.name, changed.values, changed.changed) == ("weight", 12, 1)
    assert 0 < changed.largest < 1e-7


def test_sign_of_zero_is_compared(against: Callable[..., Comparison]) -> None:
    found = against({**TENSORS, "odd": np.array([np.nan, 0.0, 0.0], dtype=np.float32)})
    assert [(each.name, each.changed, each.largest) for each in found.different_tensors] == [("odd", 1, 0.0)]


def test_missing_and_reshaped_tensors_are_reported(against: Callable[..., Comparison]) -> None:
    changed = {"weight": TENSORS["weight"].reshape(4, 3), "odd": TENSORS["odd"], "new": TENSORS["odd"]}
    found = against(changed)
    assert {each.name for each in found.different_tensors} == {"weight", "count", "new"}
    assert all(each.values == 0 for each in found.different_tensors)


def test_predictions_are_compared_bit_by_bit(against: Callable[..., Comparison]) -> None:
    other = PROBABILITIES.copy()
    other[1] = [0.6, 0.4]
    other[2, 0] = np.nextafter(other[2, 0], np.float32(1))
    found = against(probabilities=other)
    assert not found.identical
    assert (found.different_predictions, found.flipped) == (2, 1)
    assert found.largest_disagreement == pytest.approx(0.2)


def test_different_test_rows_are_different_predictions(against: Callable[..., Comparison]) -> None:
    found = against(ids=("a", "b", "d"))
    assert (found.identical, found.different_predictions) == (False, 1)


def test_different_files_of_the_model_are_reported(against: Callable[..., Comparison]) -> None:
    found = against(spec='{"labels": []}')
    assert (found.identical, found.different_files) == (False, ("model.json",))


def test_predictions_of_an_earlier_release_are_compared(tmp_path: Path) -> None:
    table = pa.table(
        {
            "row": np.arange(3),
            "id": ["a", "b", "c"],
            "label": np.zeros(3, np.int16),
            "predicted": PROBABILITIES.argmax(axis=1).astype(np.int16),
            "probabilities": list(PROBABILITIES),
        }
    )
    for name in ("first", "second"):
        (tmp_path / name / "model").mkdir(parents=True)
        save_file(TENSORS, tmp_path / name / "model" / "model.safetensors")
        (tmp_path / name / "model" / "manifest.json").write_text("{}")
        pq.write_table(table, tmp_path / name / "predictions.parquet")
    first, second = tmp_path / "first", tmp_path / "second"
    found = compare(first / "model", second / "model", registered_predictions=first, rebuilt_predictions=second)
    assert found.identical
    assert found.predictions == 3

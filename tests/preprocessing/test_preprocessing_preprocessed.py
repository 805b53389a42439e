"""Cached decoded rows: content, reuse and repair."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from samples.datasets import labelled

from modelworks.data import dataset_format
from modelworks.data.dvc_storage import object_cache
from modelworks.data.sources.base import Examples
from modelworks.data.splits import QUARANTINED, TEST, TRAIN, VALIDATION
from modelworks.errors import Corrupt, Unavailable
from modelworks.modalities import image, text
from modelworks.objectives.classification import Classification
from modelworks.preprocessing.preprocessed import PreprocessedDataset, preprocessed


class Counted:
    """Fit a processor and record the contents."""

    def __init__(self, kind: Any, settings: dict[str, Any]) -> None:
        self.kind, self.settings, self.seen = kind, settings, list[list[Any]]()

    def __call__(self, contents: Any) -> Any:
        self.seen.append(list(contents))
        return self.kind.fit(contents, self.settings, {})


def pack(folder: Path, modality: Any, contents: list[Any]) -> None:
    columns = {
        modality: pa.array(contents),
        "label": pa.array(["b" if number % 2 else "a" for number in range(len(contents))]),
    }
    dataset_format.write(
        folder, "set", {}, Examples(features=labelled(modality), columns=columns, licence="", source_digest="")
    )


def fit_objective(features: Any, targets: Any) -> Classification:
    section = {"label_smoothing": 0.0, "class_weights": "balanced"}
    return Classification.fit(section, features, targets)


IMAGES = [b"P5\n2 2\n255\n" + bytes([number] * 4) for number in range(6)]
SPLITS = np.array([TRAIN, TEST, VALIDATION, QUARANTINED, TRAIN, TRAIN], np.int8)


@pytest.fixture
def fit(tmp_path: Path) -> Counted:
    (tmp_path / "set").mkdir()
    pack(tmp_path / "set", "image", IMAGES)
    return Counted(image.Processor, {})


def make(tmp_path: Path, fit: Counted, key: str = "key", digest: str = "") -> PreprocessedDataset:
    folder = tmp_path / "set"
    digest = digest or object_cache.listing_digest(object_cache.subtree(folder))
    return preprocessed(
        tmp_path, key, folder, digest, SPLITS, fit=fit, load=image.Processor, fit_objective=fit_objective
    )


def test_processor_and_objective_are_fitted_to_training_rows_only(tmp_path: Path, fit: Counted) -> None:
    data = make(tmp_path, fit)
    assert fit.seen == [[IMAGES[0], IMAGES[4], IMAGES[5]]]
    assert data.inputs["pixels"][:, 0, 0, 0].tolist() == [0, 2, 4, 5]
    assert len(data.mappings) == 1
    assert data.splits.tolist() == [TRAIN, VALIDATION, TRAIN, TRAIN]
    assert data.targets["label"].tolist() == [0, 0, 0, 1]
    assert data.objective.spec["classes"] == ["a", "b"]
    assert data.objective.spec["class_weights"] == [0.75, 1.5], "from the three training rows"
    ids = dataset_format.read(tmp_path / "set")["id"].to_pylist()
    assert [f"{each:016x}" for each in data.ids] == [ids[row][:16] for row in (0, 2, 4, 5)]
    assert data.processor.shape == {"channels": 1, "height": 2, "width": 2}


def test_set_is_decoded_once_and_again_after_damage(tmp_path: Path, fit: Counted) -> None:
    make(tmp_path, fit)
    make(tmp_path, fit)
    assert len(fit.seen) == 1
    make(tmp_path, fit, "other")
    assert len(fit.seen) == 2
    path = tmp_path / "decoded" / "key" / "pixels.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert make(tmp_path, fit).inputs["pixels"][-1].max() == 5
    assert len(fit.seen) == 3


def test_rows_of_a_large_set_are_read_from_its_file(
    tmp_path: Path, fit: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make(tmp_path, fit).files == {}
    monkeypatch.setattr("modelworks.preprocessing.preprocessed.SMALL", 4)
    data = make(tmp_path, fit)
    rows = np.array([3, 0, 3])
    assert data.files["pixels"].read(rows).tolist() == data.inputs["pixels"][rows].tolist()
    with pytest.raises(Corrupt, match="row 4") as caught:
        data.files["pixels"].read(np.array([4]))
    assert caught.value.code == "data.truncated"


def test_concurrent_pipelines_decode_once(tmp_path: Path, fit: Counted) -> None:
    threads = [threading.Thread(target=make, args=(tmp_path, fit)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fit.seen) == 1


def test_changed_data_is_not_cached(tmp_path: Path, fit: Counted) -> None:
    digest = object_cache.listing_digest(object_cache.subtree(tmp_path / "set"))
    pack(tmp_path / "set", "image", IMAGES[::-1])
    with pytest.raises(Unavailable) as caught:
        make(tmp_path, fit, digest=digest)
    assert caught.value.code == "data.changed"
    pack(tmp_path / "set", "image", IMAGES)
    data = make(tmp_path, fit, digest=digest)
    assert data.inputs["pixels"][:, 0, 0, 0].tolist() == [0, 2, 4, 5]


def test_tokenizer_is_cached_with_the_texts(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    contents = [f"number {number} of many" for number in range(6)]
    pack(tmp_path / "set", "text", contents)
    fit = Counted(text.Processor, {"vocabulary": 300, "max_tokens": 8})
    digest = object_cache.listing_digest(object_cache.subtree(tmp_path / "set"))
    data = preprocessed(
        tmp_path, "key", tmp_path / "set", digest, SPLITS, fit=fit, load=text.Processor, fit_objective=fit_objective
    )
    again = data.processor.decode([contents[row] for row in (0, 2, 4, 5)])
    assert again["tokens"].tolist() == data.inputs["tokens"].tolist()
    assert np.cumsum(again["lengths"]).tolist() == data.inputs["offsets"][1:].tolist()

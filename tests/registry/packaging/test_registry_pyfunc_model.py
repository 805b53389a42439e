"""A loaded package accepts inputs in every container and rejects invalid ones."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from registry.packaging.packages import contents_of, load_model

from modelworks.models import serialization


def test_images_are_accepted_as_bytes_and_base64_in_every_container(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    images = contents_of(evaluation)
    strings = [base64.b64encode(image).decode() for image in images]
    expected = serialization.load(evaluation.trained.model_folder).predict(images)["probabilities"]
    labels = [evaluation.trained.report.dataset.targets["label"]["classes"][best] for best in expected.argmax(1)]
    for form in (
        images,
        strings,
        np.array(strings),
        np.array(images, dtype=object),
        pd.Series(images),
        pd.Series(strings),
        pd.DataFrame({"any name": images}),
        pd.DataFrame({"any name": strings}),
    ):
        answer = model.predict(form)
        assert list(answer.columns) == ["label", "probability"]
        assert answer["label"].tolist() == labels
        assert answer["probability"].to_numpy() == pytest.approx(expected.max(1), abs=1e-6)
    assert model.predict(strings[0])["label"].tolist() == labels[:1]


def test_texts_are_accepted_in_every_container(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load(modality="text")
    texts = contents_of(evaluation)
    expected = serialization.load(evaluation.trained.model_folder).predict(texts)["probabilities"]
    for form in (texts, np.array(texts), pd.Series(texts), pd.DataFrame({"any name": texts})):
        assert model.predict(form)["probability"].to_numpy() == pytest.approx(expected.max(1), abs=1e-6)


def test_top_k_returns_the_most_probable_labels_in_order(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    images = contents_of(evaluation)
    two = model.predict(images, params={"top_k": 2})
    for row in two.itertuples():
        assert next(iter(row.probabilities)) == row.label
        assert list(row.probabilities.values()) == sorted(row.probabilities.values(), reverse=True)
        assert len(row.probabilities) == 2
    everything = model.predict(images, params={"top_k": 99})["probabilities"]
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-5) for each in everything)


def test_index_of_the_input_is_kept(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    frame = pd.DataFrame({"image": contents_of(evaluation, 2)}, index=["a", "b"])
    assert model.predict(frame).index.tolist() == ["a", "b"]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_missing_value_is_rejected_with_its_row(load: Callable[..., Any], modality: str, missing: object) -> None:
    model, evaluation, _ = load(modality=modality)
    with pytest.raises(Exception, match="row 1 is missing"):
        model.predict(pd.DataFrame({"content": [*contents_of(evaluation, 1), missing]}))


def test_invalid_image_and_top_k_are_rejected(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    with pytest.raises(ValueError, match="row 0 is not an image"):
        model.predict(["no image!"])
    with pytest.raises(ValueError, match="top_k is 0"):
        model.predict(contents_of(evaluation), params={"top_k": 0})


def test_two_versions_with_different_code_are_loaded_in_one_process(load: Callable[..., Any]) -> None:
    one, evaluation, _ = load(0)
    _, _, folder = load(1)
    inside = folder / "artifacts" / "model"
    # A version with another source of its architecture: it always predicts the last class.
    source = (inside / "code/models/cnn.py").read_text()
    assert "return self.classifier(" in source
    (inside / "code/models/cnn.py").write_text(
        source.replace("return self.classifier(", "return torch.tensor([0.0, 0.0, 9.0]) + 0 * self.classifier(")
    )
    manifest = json.loads((inside / "manifest.json").read_text())
    raw = (inside / "code/models/cnn.py").read_bytes()
    manifest["code/models/cnn.py"] = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (inside / "manifest.json").write_text(json.dumps(manifest))
    images = contents_of(evaluation)
    before = one.predict(images)
    other = load_model(folder)
    assert other.predict(images)["label"].tolist() == ["grey"] * len(images)
    pd.testing.assert_frame_equal(one.predict(images), before)

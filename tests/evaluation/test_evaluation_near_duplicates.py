"""Near-duplicates are found and merely similar rows are not."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from samples import answers

from modelworks.data import dataset_format
from modelworks.errors import Corrupt
from modelworks.evaluation import inference
from modelworks.evaluation.near_duplicates import search
from modelworks.evaluation.near_duplicates.lsh import neighbours
from modelworks.modalities import text_fingerprints
from modelworks.modalities.image_fingerprints import Fingerprints as Pictures
from modelworks.modalities.text_fingerprints import Fingerprints as Texts
from modelworks.objectives.classification import Classification

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelworks.records import ValidationReport

WORDS = np.array(
    [
        f"{first}{second}{last}"
        for first in ("ri", "sto", "clu", "ga")
        for second in ("mel", "van", "pos")
        for last in ("er", "ing", "a")
    ]
)


def scene(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Draw smooth shapes; each seed is another picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


ALTERATIONS: dict[str, Callable[[Image.Image], bytes]] = {
    "as JPEG of low quality": lambda image: encoded(image, "JPEG", quality=30),
    "half the size": lambda image: encoded(image.resize((48, 40))),
    "twice the size": lambda image: encoded(image.resize((192, 160))),
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.15)),
    "less contrast": lambda image: encoded(ImageEnhance.Contrast(image).enhance(0.7)),
    "grey": lambda image: encoded(image.convert("L")),
    "blurred": lambda image: encoded(image.filter(ImageFilter.GaussianBlur(1.5))),
    "a pixel cut off each side": lambda image: encoded(image.crop((1, 1, 95, 79))),
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_altered_image_is_found(alter: Callable[[Image.Image], bytes]) -> None:
    train = Pictures.of([encoded(scene(seed)) for seed in range(200)])
    test = Pictures.of([encoded(scene(999)), alter(scene(42)), encoded(scene(998))])
    ours, theirs, likeness = search.alike(test, train)
    assert (ours.tolist(), theirs.tolist()) == ([1], [42])
    assert likeness[0] > 0.985


def test_images_of_one_shade_are_not_duplicates() -> None:
    blank = Pictures.of([encoded(Image.new("L", (20, 20), shade)) for shade in (0, 90, 91, 255)])
    assert len(search.alike(blank.take(np.arange(2)), blank.take(np.arange(2, 4)))[0]) == 0


@pytest.mark.parametrize(
    "alter",
    [
        lambda text: text.upper() + "  ",
        lambda text: text.replace(" ", "\n"),
        lambda text: text + "!",
        lambda text: text.replace("e", "é", 1),
        lambda text: "RT " + text,
    ],
    ids=["capitals", "line breaks", "a mark more", "an accent", "a word before"],
)
def test_altered_text_is_found(alter: Callable[[str], str]) -> None:
    generator = np.random.default_rng(0)
    train = [" ".join(generator.choice(WORDS, size=12)) for _ in range(500)]
    test = ["something else altogether, about nothing", alter(train[77])]
    ours, theirs, shared = search.alike(Texts.of(test), Texts.of(train))
    assert (ours.tolist(), theirs.tolist()) == ([1], [77])
    assert shared[0] == pytest.approx(text_fingerprints.similarity(test[1], train[77]))
    assert shared[0] >= 0.8


def test_texts_shorter_than_a_sequence_are_compared() -> None:
    ours, theirs, _ = search.alike(Texts.of(["ok", "no"]), Texts.of(["yes", "OK ", "", "nope"]))
    assert list(zip(ours.tolist(), theirs.tolist(), strict=True)) == [(0, 1)]


def test_minhashes_estimate_the_jaccard_index() -> None:
    generator = np.random.default_rng(0)
    for kept in (0.3, 0.6, 0.9):
        one = generator.choice(WORDS, size=4000)
        other = np.where(generator.random(4000) < kept, one, generator.choice(WORDS, size=4000))
        # Long, disjoint words of digits as letters.
        texts = [" ".join(f"{word}{place:05d}" for place, word in enumerate(words)) for words in (one, other)]
        left, right = text_fingerprints.minhashes(texts)
        expected = text_fingerprints.similarity(*texts)
        assert (left == right).mean() == pytest.approx(expected, abs=3.5 * np.sqrt(0.25 / text_fingerprints.HASHES))


def test_minhashes_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(WORDS[index : index + 5]) for index in range(20)]
    expected = text_fingerprints.minhashes(texts)
    monkeypatch.setattr(text_fingerprints, "AT_ONCE", 50)
    np.testing.assert_array_equal(text_fingerprints.minhashes(texts), expected)


def test_neighbours_equal_those_of_an_exhaustive_search(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    ours, theirs = (generator.integers(0, 2, size=(count, 16)).astype(np.uint8) for count in (600, 900))
    apart = (ours[:, None] != theirs[None]).sum(axis=2)
    bands = [np.packbits(rows, axis=1) for rows in (ours, theirs)]  # two bands: rows that differ in one bit share one
    expected = {(int(one), int(other)) for one, other in np.argwhere(apart <= 1)}
    monkeypatch.setattr("modelworks.evaluation.near_duplicates.lsh.AT_ONCE", 100)
    left, right = neighbours(*bands, lambda one, other: apart[one, other], limit=1, most=99)
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == expected
    assert len(expected) > 3
    nearest, _ = neighbours(*bands, lambda one, other: apart[one, other], limit=16, most=2)
    assert np.bincount(nearest).max() == 2


def predictions(report: ValidationReport, wrong: int) -> inference.Predictions:
    """Return predictions that are wrong in the first `wrong` test rows."""
    rows, objective = inference.held_out(report), Classification({"classes": ["a", "b"]})
    labels = objective.encode(rows.targets)["label"]
    predicted = labels.copy()
    predicted[:wrong] = 1 - predicted[:wrong]
    return answers.predictions(labels, predicted, objective, rows=rows.rows, ids=rows.ids)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_near_duplicates_of_training_rows_are_found(
    validated: Callable[..., ValidationReport], tmp_path: Path, modality: str
) -> None:
    contents: list[Any]
    if modality == "image":
        contents = [encoded(scene(seed)) for seed in range(30)]
        contents[10], contents[-1] = encoded(scene(1), "JPEG", quality=60), b"this does not decode"
    else:
        contents = [" ".join(np.random.default_rng(seed).choice(WORDS, size=10)) for seed in range(30)]
        contents[10], contents[-1] = contents[1] + "...", ""
    report = validated(modality, contents, ["a" if row % 2 else "b" for row in range(30)])
    found = search.find(report, predictions(report, wrong=9))
    ids = dataset_format.read(report.dataset.folder, ["id"])["id"].to_pylist()
    assert (found.tested, found.rows) == (27, 1)
    assert [(pair.test, pair.train) for pair in found.examples] == [(ids[10], ids[1])]
    # The near-duplicate is the ninth test row, one of nine errors.
    assert found.metrics["accuracy"] == pytest.approx(18 / 27)
    assert found.without["accuracy"] == pytest.approx(18 / 26)

    search.write(found, tmp_path)
    assert search.read(tmp_path) == found
    assert search.remark(found, "accuracy") == (
        "1 of 27 test rows are near-duplicates of training rows; without them accuracy is 0.6923 rather than 0.6667"
    )


def test_no_near_duplicates_give_no_remark(validated: Callable[..., ValidationReport], tmp_path: Path) -> None:
    contents = [encoded(scene(seed)) for seed in range(12)]
    report = validated("image", contents, ["a", "b"] * 6)
    found = search.find(report, predictions(report, wrong=0))
    assert (found.rows, found.examples, found.without) == (0, (), {})
    assert search.remark(found, "accuracy") == ""
    with pytest.raises(Corrupt, match=r"near_duplicates\.json") as caught:
        search.read(tmp_path)
    assert caught.value.code == "stage.damaged"


def test_five_thousand_images_take_at_most_two_seconds() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (5000, 28, 28), dtype=np.uint8)
    contents = [encoded(Image.fromarray(each)) for each in pixels]
    started = time.process_time()
    pictures = Pictures.of(contents)
    search.alike(pictures.take(np.arange(1000)), pictures.take(np.arange(1000, 5000)))
    assert time.process_time() - started < 2.0

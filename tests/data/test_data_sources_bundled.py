from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest

from modelworks.data.sources import PINNED, Digits, Fashion, Mnist5k, Source, Tweets
from modelworks.data.sources.base import PACKAGED
from modelworks.errors import BadInput

SETS: list[tuple[Source, int, int]] = [
    (Digits(kind="digits"), 1797, 10),
    (Mnist5k(kind="mnist5k"), 5000, 10),
    (Tweets(kind="tweets"), 38158, 3),
]


@pytest.mark.parametrize(("source", "rows", "classes"), SETS, ids=lambda value: getattr(value, "kind", None))
def test_packaged_set_has_all_rows_and_classes(source: Source, rows: int, classes: int, tmp_path: Path) -> None:
    examples = source.read(tmp_path)
    content, label = examples.columns[examples.input], examples.columns["label"]
    assert examples.features == source.features
    assert (len(content), content.null_count, len(label), label.null_count) == (rows, 0, rows, 0)
    assert len(pc.unique(label)) == classes
    assert examples.source_digest == source.read(tmp_path).source_digest
    assert source.fingerprint(tmp_path) == source.fingerprint(tmp_path)


def test_grey_images_use_the_full_range_of_a_byte(tmp_path: Path) -> None:
    first = Digits(kind="digits").read(tmp_path).columns["image"][0].as_py()
    header = b"P5\n8 8\n255\n"
    assert first.startswith(header)
    # Its first two rows in scikit-learn are 0 0 5 13 9 1 0 0 and 0 0 13 15 10 15 5 0, out of 16.
    assert [*first[len(header) :][:16]] == [0, 0, 80, 207, 143, 16, 0, 0, 0, 0, 207, 239, 159, 239, 80, 0]


def test_tweets_have_numeric_confidence(tmp_path: Path) -> None:
    confidence = Tweets(kind="tweets").read(tmp_path).columns["confidence"]
    assert confidence.null_count == 5460
    assert 0 <= pc.min(confidence).as_py() <= pc.max(confidence).as_py() <= 1


def test_names_of_packaged_sets_are_reserved() -> None:
    assert {source.dataset for source in (*PINNED, Fashion(kind="fashion"))} == {*PACKAGED}


def idx(*sizes: int, values: bytes) -> bytes:
    return gzip.compress(bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes) + values)


@pytest.fixture
def small_fashion(tmp_path: Path) -> Path:
    folder = tmp_path / "fashion"
    folder.mkdir()
    for split, count in (("train", 3), ("t10k", 2)):
        images, labels = bytes(range(count * 4)), bytes(range(count))
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(count, 2, 2, values=images))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(count, values=labels))
    return tmp_path


def test_fashion_has_an_official_split_and_class_names(small_fashion: Path) -> None:
    examples = Fashion(kind="fashion", path="fashion").read(small_fashion)
    assert examples.columns["split"].to_pylist() == ["train"] * 3 + ["test"] * 2
    assert examples.columns["label"].to_pylist() == ["t-shirt", "trouser", "pullover", "t-shirt", "trouser"]
    assert examples.columns["image"][1].as_py() == b"P5\n2 2\n255\n" + bytes([4, 5, 6, 7])


def test_missing_fashion_hints_at_its_package(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as bad:
        Fashion(kind="fashion", path="nowhere").fingerprint(tmp_path)
    assert bad.value.code == "source.missing"
    assert "apt-get install dataset-fashion-mnist" in bad.value.hint


@pytest.mark.parametrize(
    "damage",
    [b"", b"not gzip", idx(9, 2, 2, values=bytes(4))[:-9], idx(9, 2, 2, values=bytes(4))],
    ids=["empty", "not gzip", "truncated", "too few values"],
)
def test_damaged_fashion_file_is_named(small_fashion: Path, damage: bytes) -> None:
    path = small_fashion / "fashion" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage)
    with pytest.raises(BadInput, match=r"t10k-images-idx3-ubyte\.gz") as caught:
        Fashion(kind="fashion", path="fashion").read(small_fashion)
    assert caught.value.code == "source.damaged"


def test_changed_file_changes_the_fingerprint(small_fashion: Path) -> None:
    source = Fashion(kind="fashion", path="fashion")
    before = source.fingerprint(small_fashion)
    folder = small_fashion / "fashion"
    shutil.copy(folder / "train-labels-idx1-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz")
    assert source.fingerprint(small_fashion) != before

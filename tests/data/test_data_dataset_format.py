"""The data set format: reproducible bytes, readable by other libraries, and splits by content."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from samples.datasets import labelled

from modelworks.data import dataset_format
from modelworks.data.sources.base import Examples
from modelworks.data.splits import SPLIT_NAMES, TEST, TRAIN, VALIDATION, SplitConfig, assign_splits
from modelworks.errors import Corrupt

IDS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]


def texts(*contents: str | None, labels: list[str | None] | None = None) -> Examples:
    return Examples(
        features=labelled("text"),
        columns={
            "text": pa.array(contents, pa.string()),
            "label": pa.array(labels or ["b", "a"] * (len(contents) // 2) + ["b"] * (len(contents) % 2), pa.string()),
            "confidence": pa.array([0.5] * len(contents)),
        },
        licence="CC0-1.0",
        source_digest="0" * 64,
        details={"note": "made up"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dataset_format.write(tmp_path, "tiny", {"kind": "table"}, texts("one", "two", "three"))
    return tmp_path


def test_read_returns_the_written_examples(folder: Path) -> None:
    table = dataset_format.read(folder)
    assert table.column_names == ["id", "text", "label", "confidence"]
    assert table["text"].to_pylist() == ["one", "two", "three"]
    assert table["id"].to_pylist() == [hashlib.sha256(text.encode()).hexdigest() for text in ("one", "two", "three")]
    assert dataset_format.describe(folder) == {
        "name": "tiny",
        "features": {"text": {"kind": "text"}, "label": {"kind": "label", "classes": {"a": 1, "b": 2}}},
        "rows": 3,
        "source": {"kind": "table", "sha256": "0" * 64, "note": "made up"},
        "licence": "CC0-1.0",
    }


def test_read_selects_columns_and_skips_missing_ones(folder: Path) -> None:
    assert dataset_format.read(folder, ["label", "split"]).column_names == ["label"]


def test_pandas_can_read_the_file(folder: Path) -> None:
    frame = pd.read_parquet(folder / "examples.parquet")
    assert frame["label"].tolist() == ["b", "a", "b"]


def test_rows_without_label_or_content_are_kept_and_not_counted_as_a_class(tmp_path: Path) -> None:
    dataset_format.write(tmp_path, "holes", {}, texts("one", None, labels=[None, "a"]))
    assert dataset_format.describe(tmp_path)["features"]["label"]["classes"] == {"a": 1}
    assert dataset_format.read(tmp_path)["text"].to_pylist() == ["one", None]


def test_bytes_do_not_depend_on_threads_or_allocator(folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import pyarrow as pa; pa.set_cpu_count(1)\n"
        "from modelworks.data import dataset_format; from modelworks.data.sources import Digits\n"
        "dataset_format.write(Path(sys.argv[1]), 'digits', {}, Digits(kind='digits').read(Path('/')))"
    )
    digests = set()
    for name, environment in (("one", {"ARROW_DEFAULT_MEMORY_POOL": "system"}), ("two", {"OMP_NUM_THREADS": "4"})):
        target = tmp_path / name
        target.mkdir()
        subprocess.run(
            [sys.executable, "-c", program, str(target)],
            env={**environment, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            timeout=60,
        )
        digests.add(hashlib.sha256((target / "examples.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_flipped_byte_in_a_page_is_reported(tmp_path: Path) -> None:
    dataset_format.write(tmp_path, "many", {}, texts(*IDS))
    path = tmp_path / "examples.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"examples\.parquet") as caught:
        dataset_format.read(tmp_path)
    assert caught.value.code == "data.damaged"


@pytest.mark.parametrize("name", ["examples.parquet", "dataset.json"])
def test_truncated_or_missing_file_is_reported(folder: Path, name: str) -> None:
    def read() -> None:
        dataset_format.read(folder)
        dataset_format.describe(folder)

    (folder / name).write_bytes((folder / name).read_bytes()[:-8])
    with pytest.raises(Corrupt, match=name):
        read()
    (folder / name).unlink()
    with pytest.raises(Corrupt, match=name):
        read()


def test_splits_have_the_configured_shares() -> None:
    codes = assign_splits(IDS, None, SplitConfig(validation=0.1, test=0.3))
    assert codes.dtype == np.int8
    shares = np.bincount(codes, minlength=3) / len(codes)
    assert shares == pytest.approx([0.6, 0.1, 0.3], abs=0.01)


def test_row_keeps_its_split_as_the_data_grows_and_in_any_order() -> None:
    split = SplitConfig()
    few, many = assign_splits(IDS[:100], None, split), assign_splits(IDS[::-1], None, split)
    assert few.tolist() == many[::-1][:100].tolist()


def test_larger_test_share_moves_no_test_row_to_training() -> None:
    small, large = (assign_splits(IDS, None, SplitConfig(validation=0, test=share)) for share in (0.2, 0.4))
    assert set(np.flatnonzero(small == TEST)) < set(np.flatnonzero(large == TEST))


def test_another_salt_gives_another_split() -> None:
    one, two = (assign_splits(IDS, None, SplitConfig(salt=salt)) for salt in ("one", "two"))
    assert (one != two).mean() > 0.2


def test_official_splits_are_used_and_validation_is_drawn_from_training() -> None:
    official = ["train"] * 15_000 + ["test"] * 5_000
    codes = assign_splits(IDS, official, SplitConfig(validation=0.1))
    assert (codes[15_000:] == TEST).all()
    assert set(codes[:15_000]) == {TRAIN, VALIDATION}
    assert (codes[:15_000] == VALIDATION).mean() == pytest.approx(0.1, abs=0.01)


def test_official_validation_rows_are_the_only_validation_rows() -> None:
    official = [SPLIT_NAMES[number % 3] for number in range(300)]
    codes = assign_splits(IDS[:300], official, SplitConfig(validation=0.5))
    assert [SPLIT_NAMES[code] for code in codes] == official


def test_no_rows_give_no_splits() -> None:
    assert assign_splits([], None, SplitConfig()).tolist() == []


def test_targets_of_every_kind_are_described(tmp_path: Path) -> None:
    features = {"text": {"kind": "text"}, "labels": {"kind": "labels"}, "number": {"kind": "number"}}
    columns = {
        "text": pa.array(["one", "two"]),
        "labels": pa.array([["b", "a"], ["b"]]),
        "number": pa.array([1.5, None]),
    }
    dataset_format.write(
        tmp_path, "tiny", {}, Examples(features=features, columns=columns, licence="", source_digest="")
    )
    described = dataset_format.describe(tmp_path)
    assert described["features"]["labels"] == {"kind": "labels", "classes": {"a": 1, "b": 2}}
    assert described["features"]["number"] == {"kind": "number"}
    assert dataset_format.features(described)["labels"] == {"kind": "labels", "classes": ["a", "b"]}
    table = dataset_format.read(tmp_path)
    assert table["labels"].to_pylist() == [["b", "a"], ["b"]]
    assert table["number"].to_pylist() == [1.5, None]


def test_description_of_an_earlier_release_is_converted(folder: Path) -> None:
    path = folder / "dataset.json"
    current = json.loads(path.read_text())
    earlier = {name: value for name, value in current.items() if name != "features"}
    path.write_text(json.dumps({**earlier, "modality": "text", "classes": {"a": 1, "b": 2}}))
    assert dataset_format.describe(folder) == current

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from modelworks.data.sources import Folder
from modelworks.errors import BadInput


def write_files(root: Path, files: Mapping[str, bytes]) -> Folder:
    for name, content in files.items():
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Folder(kind="folder", path="pictures")


def test_subfolders_are_classes(tmp_path: Path) -> None:
    source = write_files(tmp_path, {"cat/b.png": b"1", "cat/a.JPG": b"2", "dog/deep/c.webp": b"3"})
    examples = source.read(tmp_path)
    assert source.dataset == "pictures"
    assert {name: column.to_pylist() for name, column in examples.columns.items()} == {
        "image": [b"2", b"1", b"3"],
        "label": ["cat", "cat", "dog"],
        "path": ["cat/a.JPG", "cat/b.png", "dog/deep/c.webp"],
    }
    assert examples.details == {}


def test_train_and_test_folders_are_the_official_split(tmp_path: Path) -> None:
    examples = write_files(tmp_path, {"Train/cat/a.png": b"1", "val/cat/b.png": b"2", "test/dog/c.png": b"3"}).read(
        tmp_path
    )
    assert examples.columns["label"].to_pylist() == ["cat", "dog", "cat"]
    assert examples.columns["split"].to_pylist() == ["train", "test", "validation"]


def test_class_may_be_called_train(tmp_path: Path) -> None:
    examples = write_files(tmp_path, {"bus/a.png": b"1", "train/b.png": b"2"}).read(tmp_path)
    assert examples.columns["label"].to_pylist() == ["bus", "train"]
    assert "split" not in examples.columns


def test_split_beside_other_folders_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"train .*extra") as caught:
        write_files(tmp_path, {"extra/a.png": b"1", "train/cat/b.png": b"2"}).read(tmp_path)
    assert caught.value.code == "source.mixed-splits"


def test_hidden_files_are_ignored_and_other_files_are_counted(tmp_path: Path) -> None:
    files = {"cat/a.png": b"1", "cat/._a.png": b"2", ".git/x/y.png": b"3", "__MACOSX/cat/a.png": b"4"}
    examples = write_files(tmp_path, {**files, "cat/notes.txt": b"5", "top.png": b"6"}).read(tmp_path)
    assert examples.columns["path"].to_pylist() == ["cat/a.png"]
    assert examples.details == {"files left out": "2, e.g. cat/notes.txt"}


@pytest.mark.parametrize("files", [{}, {"a.png": b"1"}, {"cat/a.txt": b"1"}, {"train/a.txt": b"1"}])
def test_folder_without_images_in_classes_is_rejected(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(BadInput, match="pictures") as caught:
        write_files(tmp_path, files).read(tmp_path)
    assert caught.value.code == "source.no-images"


def test_path_that_is_not_a_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"source\.path: .*nowhere") as caught:
        Folder(kind="folder", path="nowhere").fingerprint(tmp_path)
    assert caught.value.code == "source.missing"
    with pytest.raises(BadInput, match=r"source\.path: .*file") as caught:
        Folder(kind="folder", path="file").read(tmp_path)
    assert caught.value.code == "source.missing"


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    source = write_files(tmp_path, {"cat/a.png": b"1"})
    # A file that can be opened but not read, even by root.
    (tmp_path / "pictures/cat/b.png").symlink_to("/proc/self/mem")
    with pytest.raises(BadInput, match=r"cat/b\.png .*Input/output error") as caught:
        source.read(tmp_path)
    assert caught.value.code == "source.unreadable"


def test_renamed_file_changes_fingerprint_and_digest(tmp_path: Path) -> None:
    source = write_files(tmp_path, {"cat/a.png": b"1", "dog/b.png": b"2"})
    fingerprint, digest = source.fingerprint(tmp_path), source.read(tmp_path).source_digest
    assert (source.fingerprint(tmp_path), source.read(tmp_path).source_digest) == (fingerprint, digest)
    (tmp_path / "pictures/dog/b.png").rename(tmp_path / "pictures/cat/b.png")
    assert source.fingerprint(tmp_path) != fingerprint
    assert source.read(tmp_path).source_digest != digest


@pytest.mark.parametrize(
    ("path", "name", "dataset"),
    [("x/My Pictures", "", "my-pictures"), ("x/v1.2/", "", "v1-2"), ("x", "cats_and-dogs", "cats_and-dogs")],
)
def test_data_set_is_named_after_its_folder_by_default(path: str, name: str, dataset: str) -> None:
    assert Folder(kind="folder", path=path, name=name).dataset == dataset


@pytest.mark.parametrize(
    ("path", "name"), [("x", "../up"), ("x", "Upper"), (".", ""), ("a/digits", ""), ("x", "tweets")]
)
def test_invalid_or_reserved_name_is_rejected(path: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"^name "):
        Folder(kind="folder", path=path, name=name)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from modelworks.data.sources import Folder
from modelworks.errors import BadInput


def planted(root: Path, files: Mapping[str, bytes]) -> Folder:
    for name, content in files.items():
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Folder(kind="folder", path="pictures")


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    source = planted(tmp_path, {"cat/b.png": b"1", "cat/a.JPG": b"2", "dog/deep/c.webp": b"3"})
    examples = source.read(tmp_path)
    assert source.dataset == "pictures"
    assert {name: column.to_pylist() for name, column in examples.columns.items()} == {
        "image": [b"2", b"1", b"3"],
        "label": ["cat", "cat", "dog"],
        "path": ["cat/a.JPG", "cat/b.png", "dog/deep/c.webp"],
    }
    assert examples.details == {}


def test_train_and_test_above_the_classes_are_the_official_split(tmp_path: Path) -> None:
    examples = planted(tmp_path, {"Train/cat/a.png": b"1", "val/cat/b.png": b"2", "test/dog/c.png": b"3"}).read(
        tmp_path
    )
    assert examples.columns["label"].to_pylist() == ["cat", "dog", "cat"]
    assert examples.columns["split"].to_pylist() == ["train", "test", "validation"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    examples = planted(tmp_path, {"bus/a.png": b"1", "train/b.png": b"2"}).read(tmp_path)
    assert examples.columns["label"].to_pylist() == ["bus", "train"]
    assert "split" not in examples.columns


def test_a_split_beside_other_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"train looks like a split with classes below it, but .*extra"):
        planted(tmp_path, {"extra/a.png": b"1", "train/cat/b.png": b"2"}).read(tmp_path)


def test_hidden_files_do_not_count_and_other_files_are_counted(tmp_path: Path) -> None:
    files = {"cat/a.png": b"1", "cat/._a.png": b"2", ".git/x/y.png": b"3", "__MACOSX/cat/a.png": b"4"}
    examples = planted(tmp_path, {**files, "cat/notes.txt": b"5", "top.png": b"6"}).read(tmp_path)
    assert examples.columns["path"].to_pylist() == ["cat/a.png"]
    assert examples.details == {"files left out": "2, e.g. cat/notes.txt"}


@pytest.mark.parametrize("files", [{}, {"a.png": b"1"}, {"cat/a.txt": b"1"}, {"train/a.txt": b"1"}])
def test_a_folder_without_images_in_classes_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(BadInput, match=r"no image files in the sub-folders of .*pictures"):
        planted(tmp_path, files).read(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"source\.path: .*nowhere does not exist"):
        Folder(kind="folder", path="nowhere").fingerprint(tmp_path)
    with pytest.raises(BadInput, match=r"source\.path: .*file is not a folder"):
        Folder(kind="folder", path="file").read(tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    source = planted(tmp_path, {"cat/a.png": b"1"})
    # A file that opens and whose bytes nobody can read, not even root.
    (tmp_path / "pictures/cat/b.png").symlink_to("/proc/self/mem")
    with pytest.raises(BadInput, match=r"cat/b\.png cannot be read: Input/output error"):
        source.read(tmp_path)


def test_fingerprint_and_digest_follow_the_files(tmp_path: Path) -> None:
    source = planted(tmp_path, {"cat/a.png": b"1", "dog/b.png": b"2"})
    fingerprint, digest = source.fingerprint(tmp_path), source.read(tmp_path).source_digest
    assert (source.fingerprint(tmp_path), source.read(tmp_path).source_digest) == (fingerprint, digest)
    (tmp_path / "pictures/dog/b.png").rename(tmp_path / "pictures/cat/b.png")
    assert source.fingerprint(tmp_path) != fingerprint
    assert source.read(tmp_path).source_digest != digest


@pytest.mark.parametrize(
    ("path", "name", "dataset"),
    [("x/My Pictures", "", "my-pictures"), ("x/v1.2/", "", "v1-2"), ("x", "cats_and-dogs", "cats_and-dogs")],
)
def test_the_data_set_is_called_after_its_folder_or_as_told(path: str, name: str, dataset: str) -> None:
    assert Folder(kind="folder", path=path, name=name).dataset == dataset


@pytest.mark.parametrize(
    ("path", "name"), [("x", "../up"), ("x", "Upper"), (".", ""), ("a/digits", ""), ("x", "tweets")]
)
def test_a_name_unfit_or_taken_is_refused(path: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"^name "):
        Folder(kind="folder", path=path, name=name)

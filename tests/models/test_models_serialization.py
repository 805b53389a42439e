"""A saved model is taken whole or not at all, and brings its own code."""

from __future__ import annotations

import json
import os
import py_compile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from modelworks.modalities import image
from modelworks.models import cnn, serialization
from modelworks.models.serialization import DamagedModel

IMAGE = b"P5\n4 4\n255\n" + bytes(range(16))


def save(folder: Path, architecture: Path) -> str:
    inputs = image.Input.fit([IMAGE], {}, {})
    configuration = {"hidden": 4, "dropout": 0.0}
    torch.manual_seed(0)
    description = {
        "kind": "cnn",
        "modality": "image",
        "labels": ("a", "b"),
        "architecture": configuration,
        "shape": inputs.shape,
    }
    return serialization.save(
        folder,
        description=description,
        network=cnn.build(configuration, inputs.shape, 2),
        inputs=inputs,
        sources={**serialization.sources(cnn, image), "architecture": architecture.read_bytes()},
        training_ids=np.arange(3, dtype=np.uint64),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model", Path(cnn.__file__))
    return tmp_path / "model"


def test_a_model_is_files_that_anyone_can_read(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "architecture.py",
        "manifest.json",
        "modality.py",
        "model.json",
        "model.safetensors",
        "saved.py",
        "training_ids.npy",
    }
    assert json.loads((folder / "model.json").read_text())["labels"] == ["a", "b"]
    assert (folder / "saved.py").read_bytes() == Path(serialization.__file__).read_bytes()


def test_the_digest_is_of_the_content_and_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    digest = serialization.verify(folder)
    assert len(digest) == 64
    assert save(tmp_path / "again", Path(cnn.__file__)) == digest
    assert serialization.verify(folder.rename(tmp_path / "moved")) == digest


FILES = ["architecture.py", "modality.py", "model.json", "model.safetensors", "saved.py", "training_ids.npy"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_damage(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedModel, match=name):
        serialization.load(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_damage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DamagedModel, match=name):
        serialization.load(folder)


def add_bytecode(folder: Path) -> None:
    py_compile.compile(str(folder / "architecture.py"), doraise=True)


def add_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("")


def add_empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def add_dangling_link(folder: Path) -> None:
    (folder / "link").symlink_to("nowhere")


@pytest.mark.parametrize("add", [add_bytecode, add_file, add_empty_folder, add_dangling_link])
def test_anything_more_is_damage(folder: Path, add: Callable[[Path], None]) -> None:
    add(folder)
    with pytest.raises(DamagedModel):
        serialization.load(folder)


@pytest.mark.parametrize("manifest", ["", "[]", "3", '{"model.json": 3}', "{}"])
def test_a_manifest_that_says_nothing_is_damage(folder: Path, manifest: str) -> None:
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(DamagedModel):
        serialization.load(folder)


def test_old_code_lives_beside_new(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.py"
    source = Path(cnn.__file__).read_text()
    changed.write_text(source.replace("return self.classifier(", "return -self.classifier("))
    save(tmp_path / "new", changed)
    old, new = serialization.load(folder), serialization.load(tmp_path / "new")
    assert new.probabilities([IMAGE])[0] == pytest.approx(old.probabilities([IMAGE])[0][::-1], abs=1e-6)
    again = serialization.load(folder).probabilities([IMAGE])
    assert (again == old.probabilities([IMAGE])).all()


def test_planted_bytecode_is_never_run(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 'good'")
    other = tmp_path / "planted.py"
    other.write_text("VALUE = 'evil'")
    times = (source.stat().st_atime_ns, source.stat().st_mtime_ns)
    os.utime(other, ns=times)
    (tmp_path / "__pycache__").mkdir()
    cached = Path(py_compile.compile(str(other), doraise=True) or "")
    cached.rename(cached.with_name(cached.name.replace("planted", "module")))
    assert serialization.execute(source).VALUE == "good"


def test_a_source_that_fails_leaves_no_half_module(tmp_path: Path) -> None:
    source = tmp_path / "broken.py"
    source.write_text("VALUE = 1\n1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            serialization.execute(source)


def test_loading_takes_no_random_numbers(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    serialization.load(folder)
    assert torch.equal(torch.rand(3), expected)


TRAVELLING = [
    *("models/serialization.py", "models/cnn.py", "models/transformer.py", "models/pretrained.py"),
    *("modalities/image.py", "modalities/text.py"),
]


@pytest.mark.parametrize("file", TRAVELLING)
def test_what_travels_imports_nothing_of_this_project(file: str) -> None:
    source = (Path(serialization.__file__).parents[1] / file).read_text()
    assert "import modelworks" not in source
    assert "from modelworks" not in source

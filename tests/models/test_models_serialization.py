"""A saved model is taken whole or not at all, and brings its own code."""

from __future__ import annotations

import errno
import json
import os
import py_compile
import subprocess
import sys
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


STREAMED = """
import sys
from pathlib import Path

import numpy as np
import torch
from modelworks.modalities import image
from modelworks.models import serialization


def highest() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


layers = [torch.nn.Linear(1024, 1024, bias=False, dtype=torch.bfloat16) for _ in range(150)]
network = torch.nn.Sequential(*layers)
size = sum(each.numel() * each.element_size() for each in network.parameters())
inputs = image.Input.fit([b"P5\\n4 4\\n255\\n" + bytes(16)], {}, {})
serialization.save(
    Path(sys.argv[1]) / "warm",  # imports what it needs
    description={},
    network=torch.nn.Linear(2, 2),
    inputs=inputs,
    sources={},
    training_ids=np.zeros(0, np.uint64),
)
before = highest()
serialization.save(
    Path(sys.argv[1]) / "large",
    description={},
    network=network,
    inputs=inputs,
    sources={},
    training_ids=np.zeros(0, np.uint64),
)
print(size, highest() - before)
"""


def test_saving_takes_little_memory_beside_the_model_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", STREAMED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    size, more = map(int, done.stdout.split())
    assert size > 300e6
    assert more < 0.2 * size
    stored = tmp_path / "large" / "model.safetensors"
    assert stored.stat().st_size == pytest.approx(size, rel=0.01)  # bfloat16 stays bfloat16
    assert json.loads((tmp_path / "large" / "model.json").read_text())["dtypes"] == {"bfloat16": 150}


def test_a_model_answers_in_the_type_that_it_was_saved_in(tmp_path: Path) -> None:
    inputs = image.Input.fit([IMAGE], {}, {})
    section = {"hidden": 4, "dropout": 0.0}
    torch.manual_seed(0)
    network = cnn.build(section, inputs.shape, 2).bfloat16().eval()
    serialization.save(
        tmp_path / "model",
        description={"modality": "image", "labels": ("a", "b"), "architecture": section, "shape": inputs.shape},
        network=network,
        inputs=inputs,
        sources=serialization.sources(cnn, image),
        training_ids=np.arange(3, dtype=np.uint64),
    )
    loaded = serialization.load(tmp_path / "model")
    assert {each.dtype for each in loaded.network.parameters()} == {torch.bfloat16}
    arrays = inputs.arrange(inputs.decode([IMAGE]))
    with torch.inference_mode():
        expected = network(inputs.batch(arrays, torch.tensor([0]))["pixels"].bfloat16()).float().softmax(-1)
    np.testing.assert_array_equal(loaded.probabilities([IMAGE]), expected.numpy())


def test_a_full_disk_is_an_error_of_the_system_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"model\.safetensors") as caught:
        serialization._write_tensors(tmp_path / "none" / "model.safetensors", {"weight": torch.zeros(2)})
    assert caught.value.errno == errno.ENOENT

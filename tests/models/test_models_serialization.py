"""Saved models: their files, the verification of all files, memory and dtype."""

from __future__ import annotations

import errno
import json
import py_compile
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from models.saved_models import CNN, IMAGE, save

from modelworks.models import cnn, saved_model, serialization
from modelworks.models.serialization import DamagedModel
from modelworks.models.weights_file import write_weights


def test_saved_model_files(folder: Path) -> None:
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *("manifest.json", "model.json", "model.safetensors", "saved.py", "training_ids.npy"),
        *("code/__init__.py", "code/models/__init__.py", "code/models/cnn.py"),
        *("code/modalities/__init__.py", "code/modalities/image.py", "code/modalities/image_augmentation.py"),
        *("code/objectives/__init__.py", "code/objectives/base.py", "code/objectives/classification.py"),
        *("code/objectives/figures.py", "code/objectives/row_statistics.py", "code/objectives/metrics/__init__.py"),
        *(
            f"code/objectives/metrics/{name}.py"
            for name in ("calibration", "class_counts", "class_metrics", "ranking", "rule_of_three")
        ),
    }
    described = json.loads((folder / "model.json").read_text())
    assert described["format"] == 2
    assert described["objective"] == {"kind": "classification", "spec": {"classes": ["a", "b"]}}
    assert described["dtypes"] == {"float32": 8}
    assert (folder / "saved.py").read_bytes() == Path(saved_model.__file__).read_bytes()
    assert (folder / "code" / "models" / "__init__.py").read_bytes() == serialization.PACKAGE


def test_digest_depends_on_content_and_not_on_path(folder: Path, tmp_path: Path) -> None:
    digest = serialization.verify(folder)
    assert len(digest) == 64
    assert save(tmp_path / "again", Path(cnn.__file__)) == digest
    assert serialization.verify(folder.rename(tmp_path / "moved")) == digest


FILES = [CNN, "code/objectives/base.py", "model.json", "model.safetensors", "saved.py", "training_ids.npy"]


@pytest.mark.parametrize("name", FILES)
def test_flipped_byte_is_detected(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedModel, match=name):
        serialization.load(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_missing_file_is_detected(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DamagedModel, match=name):
        serialization.load(folder)


def add_bytecode(folder: Path) -> None:
    py_compile.compile(str(folder / CNN), doraise=True)


def add_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("")


def add_empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def add_dangling_link(folder: Path) -> None:
    (folder / "link").symlink_to("nowhere")


@pytest.mark.parametrize("add", [add_bytecode, add_file, add_empty_folder, add_dangling_link])
def test_additional_file_is_detected(folder: Path, add: Callable[[Path], None]) -> None:
    add(folder)
    with pytest.raises(DamagedModel):
        serialization.load(folder)


@pytest.mark.parametrize("manifest", ["", "[]", "3", '{"model.json": 3}', "{}"])
def test_invalid_manifest_is_detected(folder: Path, manifest: str) -> None:
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(DamagedModel):
        serialization.load(folder)


FORMAT_1 = Path(__file__).with_name("format_1.zip")
"""A model of format 1 with its predictions, saved by the code of that time."""


def test_model_of_format_1_gives_the_same_predictions(tmp_path: Path) -> None:
    with zipfile.ZipFile(FORMAT_1) as archive:
        archive.extractall(tmp_path)
    model = serialization.load(tmp_path / "model")
    found = model.predict([IMAGE, IMAGE[:-1] + b"\0"])
    assert model.objective.classes == ("a", "b")
    assert model.modality == "image"
    assert found["probabilities"] == pytest.approx(np.array(json.loads((tmp_path / "answers.json").read_text())))


STREAMED = """
import sys
from pathlib import Path

import numpy as np
import torch
from modelworks.modalities import image
from modelworks.models import serialization
from modelworks.objectives.classification import Classification


def highest() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


layers = [torch.nn.Linear(1024, 1024, bias=False, dtype=torch.bfloat16) for _ in range(150)]
network = torch.nn.Sequential(*layers)
size = sum(each.numel() * each.element_size() for each in network.parameters())
processor = image.Processor.fit([b"P5\\n4 4\\n255\\n" + bytes(16)], {}, {})
serialization.save(
    Path(sys.argv[1]) / "warm",  # warm up: import the libraries
    description={},
    network=torch.nn.Linear(2, 2),
    processor=processor,
    objective=Classification({"classes": []}),
    sources={},
    training_ids=np.zeros(0, np.uint64),
)
before = highest()
serialization.save(
    Path(sys.argv[1]) / "large",
    description={},
    network=network,
    processor=processor,
    objective=Classification({"classes": []}),
    sources={},
    training_ids=np.zeros(0, np.uint64),
)
print(size, highest() - before)
"""


def test_saving_needs_little_additional_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", STREAMED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    size, more = map(int, done.stdout.split())
    assert size > 300e6
    assert more < 0.2 * size
    stored = tmp_path / "large" / "model.safetensors"
    assert stored.stat().st_size == pytest.approx(size, rel=0.01)  # bfloat16 stays bfloat16
    assert json.loads((tmp_path / "large" / "model.json").read_text())["dtypes"] == {"bfloat16": 150}


def test_model_predicts_in_its_saved_dtype(tmp_path: Path) -> None:
    save(tmp_path / "model", Path(cnn.__file__), dtype=torch.bfloat16)
    loaded = serialization.load(tmp_path / "model")
    assert {each.dtype for each in loaded.network.parameters()} == {torch.bfloat16}
    processor = loaded.processor
    pixels = processor.collate(processor.arrange(processor.decode([IMAGE])), torch.tensor([0]))["pixels"]
    with torch.inference_mode():
        expected = loaded.network(pixels.bfloat16()).float().softmax(-1)
    np.testing.assert_array_equal(loaded.predict([IMAGE])["probabilities"], expected.numpy())


def test_write_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"model\.safetensors") as caught:
        write_weights(tmp_path / "none" / "model.safetensors", {"weight": torch.zeros(2)})
    assert caught.value.errno == errno.ENOENT

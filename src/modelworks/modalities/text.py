"""Tokenize texts and turn them into a model's input, padded to the batch's longest text.

This file is copied into saved text models: it imports from this project by relative imports only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    import torch
    from tokenizers import Tokenizer

__all__ = ["Processor"]

TOKENIZER = "tokenizer.json"


class Processor:
    """Tokenizes the texts of one model. `spec` has max_tokens, vocabulary, padding."""

    kind = "text"
    settings = ("vocabulary", "max_tokens")
    """Fields of the `model:` section that `fit` reads."""
    libraries = ("tokenizers",)
    """Distributions that `decode` depends on."""
    fact_libraries = ("ftfy",)
    """Distributions that the facts of validation depend on."""
    resident = ("tokens",)
    """Names of the arrays that may be kept on the device."""
    augmentations: tuple[str, ...] = ()
    """Fields of `train.augment` that it supports."""
    has_tokens = True
    """Whether rows have lengths in tokens."""
    content_name = "a text"
    """A noun for one content, with its article."""
    request_example = "a text"
    """A content as it appears in a JSON string of a shell command for the scoring server."""

    def __init__(self, spec: Mapping[str, Any], folder: Path | None = None, tokenizer: Tokenizer | None = None) -> None:
        from tokenizers import Tokenizer as Loader

        self.spec = dict(spec)
        assert folder is not None or tokenizer is not None
        self.tokenizer = tokenizer if tokenizer is not None else Loader.from_file(str(Path(str(folder)) / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(int(self.spec["max_tokens"]))

    @classmethod
    def fit(cls, contents: Collection[str], settings: Mapping[str, Any], assets: Mapping[str, bytes]) -> Processor:
        """Use the architecture's tokenizer, or learn one from the training texts."""
        from tokenizers import Tokenizer

        if TOKENIZER in assets:
            tokenizer = Tokenizer.from_str(assets[TOKENIZER].decode())
        else:
            tokenizer = _learn(contents, int(settings["vocabulary"]))
        padding = next(
            (tokenizer.token_to_id(name) for name in ("[PAD]", "<pad>") if tokenizer.token_to_id(name) is not None), 0
        )
        spec = {"max_tokens": settings["max_tokens"], "vocabulary": tokenizer.get_vocab_size(), "padding": padding}
        return cls(spec, tokenizer=tokenizer)

    def save(self, folder: Path) -> None:
        """Write the tokenizer beside the model."""
        self.tokenizer.save(str(folder / TOKENIZER))

    @property
    def shape(self) -> dict[str, int]:
        """Sizes that an architecture needs: vocabulary, padding, max_tokens."""
        return {name: self.spec[name] for name in ("vocabulary", "padding", "max_tokens")}

    def from_json(self, value: Any) -> str:
        """Return the text, given as a string or as UTF-8 bytes."""
        if isinstance(value, bytes | bytearray):
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                raise ValueError("is not UTF-8: send a text") from None
        if not isinstance(value, str):
            raise ValueError(f"is {type(value).__name__}: send a text")
        return value

    def decode(self, contents: Sequence[str]) -> dict[str, np.ndarray]:
        """Return `tokens`: int32, all texts concatenated; `lengths`: int32 (n,), tokens of each."""
        import numpy as np

        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(contents))]
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int32)
        tokens = np.fromiter((token for ids in encoded for token in ids), dtype=np.int32, count=int(lengths.sum()))
        return {"tokens": tokens, "lengths": lengths}

    def arrange(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Return the tokens and `offsets`, int64 (n + 1), the start of each text."""
        import torch

        offsets = torch.zeros(len(arrays["lengths"]) + 1, dtype=torch.int64)
        torch.cumsum(torch.from_numpy(arrays["lengths"]), 0, out=offsets[1:])
        return {"tokens": torch.from_numpy(arrays["tokens"]), "offsets": offsets}

    def lengths(self, arrays: Mapping[str, torch.Tensor]) -> np.ndarray | None:
        """Return the tokens of each text, by which batches are bucketed."""
        return arrays["offsets"].diff().numpy()

    def augment(self, inputs: Mapping[str, torch.Tensor], _config: object) -> dict[str, torch.Tensor]:
        """Return the inputs unchanged: there is no augmentation of texts."""
        return dict(inputs)

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Return `tokens` int64 and `mask` bool (False for padding), both (len(indices), longest).

        Args:
            arrays: from `arrange`; the tokens on the CPU or on the device, the offsets on the CPU.
            indices: int64, on the CPU.
            device: of the result.
        """
        import torch

        starts = arrays["offsets"][indices]
        lengths = arrays["offsets"][indices + 1] - starts
        columns = torch.arange(max(1, int(lengths.max())))
        mask = columns < lengths[:, None]
        places = torch.where(mask, starts[:, None] + columns, 0)
        source = arrays["tokens"]
        if source.device.type == device:
            places, mask = (each.to(device, non_blocking=True) for each in (places, mask))
            tokens = torch.where(mask, source[places], self.spec["padding"]).long()
        else:
            tokens = torch.where(mask, source[places], self.spec["padding"]).long()
            tokens, mask = (each.pin_memory().to(device, non_blocking=True) for each in (tokens, mask))
        return {"tokens": tokens, "mask": mask}


def _learn(contents: Collection[str], vocabulary: int) -> Tokenizer:
    """Train a lower-casing byte-level BPE tokenizer.

    Method: Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019.

    Its alphabet is the 256 bytes, so no character is unknown and the same texts give the same tokenizer. With a learned
    alphabet, or WordPiece, the order of the alphabet changes from process to process.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(contents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return tokenizer

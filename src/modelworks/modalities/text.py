"""Texts: strings to token ids to a model's input, padded no more than their batch needs.

This file is part of every text model's package: it imports nothing of this project but by relative imports.
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
    """How the texts of one model become tokens. `spec` is JSON: max_tokens, vocabulary, padding."""

    kind = "text"
    settings = ("vocabulary", "max_tokens")
    """Fields of the `model:` section that `fit` reads."""
    libraries = ("tokenizers",)
    """Distributions that decode."""
    fact_libraries = ("ftfy",)
    """Distributions that the validated facts depend on."""
    resident = ("tokens",)
    """What may live on the device."""
    augmentations: tuple[str, ...] = ()
    """Fields of `train.augment` that vary it."""
    has_tokens = True
    """Whether rows have lengths in tokens."""

    def __init__(self, spec: Mapping[str, Any], folder: Path | None = None, tokenizer: Tokenizer | None = None) -> None:
        from tokenizers import Tokenizer as Loader

        self.spec = dict(spec)
        assert folder is not None or tokenizer is not None
        self.tokenizer = tokenizer if tokenizer is not None else Loader.from_file(str(Path(str(folder)) / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(int(self.spec["max_tokens"]))

    @classmethod
    def fit(cls, contents: Collection[str], settings: Mapping[str, Any], assets: Mapping[str, bytes]) -> Processor:
        """Take the tokenizer that comes with the architecture, or learn one from the training texts alone."""
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
        """What an architecture must know: vocabulary, padding, max_tokens."""
        return {name: self.spec[name] for name in ("vocabulary", "padding", "max_tokens")}

    def decode(self, contents: Sequence[str]) -> dict[str, np.ndarray]:
        """`tokens`: int32, all texts end to end; `lengths`: int32 (n,), tokens of each."""
        import numpy as np

        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(contents))]
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int32)
        tokens = np.fromiter((token for ids in encoded for token in ids), dtype=np.int32, count=int(lengths.sum()))
        return {"tokens": tokens, "lengths": lengths}

    def arrange(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """What `collate` slices: the tokens, and `offsets`, int64 (n + 1), where each text begins."""
        import torch

        offsets = torch.zeros(len(arrays["lengths"]) + 1, dtype=torch.int64)
        torch.cumsum(torch.from_numpy(arrays["lengths"]), 0, out=offsets[1:])
        return {"tokens": torch.from_numpy(arrays["tokens"]), "offsets": offsets}

    def lengths(self, arrays: Mapping[str, torch.Tensor]) -> np.ndarray | None:
        """Tokens of each text: what batches are bucketed by."""
        return arrays["offsets"].diff().numpy()

    def augment(self, inputs: Mapping[str, torch.Tensor], _config: object) -> dict[str, torch.Tensor]:
        """The inputs: texts are not varied."""
        return dict(inputs)

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """`tokens` int64 and `mask` bool (True on real tokens), both (len(indices), longest of them).

        Args:
            arrays: of `arrange`; the tokens on the CPU or on the device, the offsets on the CPU.
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
    """A lower-casing byte-level BPE tokenizer (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019).

    Bytes are its alphabet, so no character is unknown to it. And the same texts give the same tokenizer: the order in
    which a learned alphabet, or WordPiece's continuations, are met changes from process to process.
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

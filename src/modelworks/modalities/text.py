"""Texts: strings to token ids to a model's input, padded no more than their batch needs.

This file travels with every text model and is run by its serving code: it imports nothing of this project.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch
    from tokenizers import Tokenizer

__all__ = ["Input"]

TOKENIZER = "tokenizer.json"


class Input:
    """How the texts of one model become tokens. `spec` is JSON: max_tokens, vocabulary, padding."""

    def __init__(self, spec: Mapping[str, Any], folder: Path | None = None, tokenizer: Tokenizer | None = None) -> None:
        from tokenizers import Tokenizer as Loader

        self.spec = dict(spec)
        assert folder is not None or tokenizer is not None
        self.tokenizer = tokenizer if tokenizer is not None else Loader.from_file(str(Path(str(folder)) / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(int(self.spec["max_tokens"]))

    @classmethod
    def fit(cls, contents: Sequence[str], settings: Mapping[str, Any], assets: Mapping[str, bytes]) -> Input:
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
        """`tokens`: int32, all texts end to end; `offsets`: int64 (n + 1), where each begins."""
        import numpy as np

        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(contents))]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in encoded], out=offsets[1:])
        tokens = np.fromiter((token for ids in encoded for token in ids), dtype=np.int32, count=int(offsets[-1]))
        return {"tokens": tokens, "offsets": offsets}

    def lengths(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Tokens of each text: what batches are bucketed by."""
        import numpy as np

        return np.diff(arrays["offsets"])

    def batch(
        self, arrays: Mapping[str, np.ndarray], indices: np.ndarray, device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """`tokens` int64 and `mask` bool (True on real tokens), both (len(indices), longest of them)."""
        import numpy as np
        import torch

        starts = arrays["offsets"][indices]
        lengths = arrays["offsets"][np.asarray(indices) + 1] - starts
        columns = np.arange(max(1, int(lengths.max())))
        mask = columns < lengths[:, None]
        places = np.where(mask, starts[:, None] + columns, 0)
        tokens = np.where(mask, arrays["tokens"][places], self.spec["padding"])
        return {
            "tokens": torch.from_numpy(tokens.astype(np.int64)).to(device, non_blocking=True),
            "mask": torch.from_numpy(mask).to(device, non_blocking=True),
        }


def _learn(contents: Sequence[str], vocabulary: int) -> Tokenizer:
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

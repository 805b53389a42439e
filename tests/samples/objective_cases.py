"""Data sets and configs of the objectives, for tests."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROWS = 400

GROUPS = {
    "animal": ("fox", "owl", "cat", "bee", "ant"),
    "colour": ("red", "blue", "green", "pink", "grey"),
    "food": ("fig", "pea", "egg", "rice", "plum"),
}

OTHERS = ("the", "and", "then", "near", "with", "over", "some", "this")

MODELS = {
    "text": "{kind: transformer, vocabulary: 400, max_tokens: 24, width: 32, layers: 1, heads: 2, dropout: 0}",
    "image": "{kind: cnn, hidden: 16}",
}

CONFIG = """
name: own
source: {kind: table, path: rows/rows.csv, %(modality)s: content, %(column)s: target}
objective: {kind: %(objective)s}
model: %(model)s
train: {epochs: 15, batch_size: 16, learning_rate: 0.01}
compute: {threads: 1}
evaluate: {resamples: 200}
gate: %(gate)s
"""


@dataclass(frozen=True)
class Case:
    """One combination of an objective and a modality."""

    objective: str
    modality: str
    column: str
    """The field of the source that names the target's column."""
    metric: str
    gate: str

    def write(self, root: Path) -> None:
        """The table and the config; images are files beside the table."""
        folder = root / "rows"
        folder.mkdir()
        draw, lines = random.Random(0), ["content,target"]
        for number in range(ROWS):
            counts = {name: draw.choice((0, 0, 1, 2)) for name in GROUPS}
            names = [name for name, count in counts.items() if count and draw.random() < 0.97]  # some are forgotten
            if self.modality == "text":
                content, value = sentence(counts, draw), float(sum(counts.values()))
            else:
                content, pixels = f"{number}.png", picture(counts, draw)
                Image.fromarray(pixels).save(folder / content)
                value = float(pixels.mean()) / 10
            lines.append(f"{content},{value if self.column == 'number' else '|'.join(names)}")
        (folder / "rows.csv").write_text("\n".join([*lines, ""]))
        (root / "configs" / "own.yaml").write_text(CONFIG % {**vars(self), "model": MODELS[self.modality]})


def sentence(counts: Mapping[str, int], draw: random.Random) -> str:
    """Ten words, so many of them from each group."""
    words = [draw.choice(GROUPS[name]) for name, count in counts.items() for _ in range(count)]
    words += draw.choices(OTHERS, k=10 - len(words))
    draw.shuffle(words)
    return " ".join(words)


def picture(counts: Mapping[str, int], draw: random.Random) -> np.ndarray:
    """uint8 (12, 12, 3): noise in which a channel is the brighter, the more its group counts."""
    levels = [40.0 + 80 * count for count in counts.values()]
    noise = np.random.default_rng(draw.getrandbits(32)).normal(0, 12, size=(12, 12, 3))
    return np.clip(levels + noise, 0, 255).astype(np.uint8)


NUMBER = ("number", "mae", "{maximums: {mae: 5}, max_regression: 0.1}")
LABELS = ("labels", "micro_f1", "{minimums: {micro_f1: 0.3}, max_regression: 0.02}")

CASES = [
    pytest.param(Case("regression", "text", *NUMBER), id="regression-text"),
    pytest.param(Case("regression", "image", *NUMBER), id="regression-image"),
    pytest.param(Case("multilabel", "text", *LABELS), id="multilabel-text"),
    pytest.param(Case("multilabel", "image", *LABELS), id="multilabel-image"),
]

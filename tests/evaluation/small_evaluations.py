"""Small models to score, for tests."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from samples.answers import predictions

from modelworks.evaluation import inference
from modelworks.evaluation.config import EvaluateConfig
from modelworks.evaluation.evaluate import evaluate
from modelworks.objectives.classification import Classification
from modelworks.records import Evaluation, TrainedModel

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = EvaluateConfig(resamples=200, worst=7)

TEXTS = [
    f"good day number {index}" if index % 2 else f"bad <script>alert({index})</script> " + "x " * index
    for index in range(60)
]

MOODS = ["a & <b>glad</b>" if index % 2 else "$sad$ 猫" for index in range(60)]


def picture(bright: bool, seed: int) -> bytes:
    """A 6x5 PNG."""
    pixels = np.random.default_rng(seed).integers(0, 80, (5, 6)) + (150 if bright else 0)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [picture(index % 2 == 1, index) for index in range(40)]
LIGHTS = ["bright" if index % 2 else "dark" for index in range(40)]
Train = Callable[..., TrainedModel]


def run(trained: TrainedModel, folder: Path) -> Evaluation:
    folder.mkdir()
    return evaluate(trained, CONFIG, folder, folder, "e")


def artificial(labels: list[int], predicted: list[int]) -> inference.Predictions:
    objective = Classification({"classes": ["no", "yes"]})
    return predictions(np.array(labels), np.array(predicted), objective, sure=0.9)

"""The outcome of one training: the time of its steps and the metrics on the test rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["WARM_UP", "Outcome", "Stopwatch", "score"]

WARM_UP = 3
"""Number of steps in which libraries load kernels and allocate memory."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one training of one side; passed as JSON."""

    seconds: float
    """Wall time from the first step to the end of the last epoch, including log, checkpoints and progress bar.
    Excludes imports, reading, decoding, building the model, and a checkpoint at the end."""
    epochs: int
    examples: int
    """Number of examples in all epochs."""
    tokens: int
    """Number of tokens in all epochs without padding; 0 for images."""
    accuracy: float
    macro_f1: float
    warm_examples_per_second: float = 0.0
    """After at least `WARM_UP` steps; 0 if not measured."""
    remark: str = ""

    @property
    def seconds_per_epoch(self) -> float:
        return self.seconds / self.epochs

    @property
    def examples_per_second(self) -> float:
        return self.examples / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class Stopwatch:
    """Started by a side before its first batch and stopped after its last epoch."""

    seconds = 0.0
    _started = 0.0

    def start(self) -> None:
        _wait()
        self._started = time.perf_counter()

    def stop(self) -> None:
        _wait()
        self.seconds = time.perf_counter() - self._started


def score(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[float, float]:
    """Return accuracy and macro F1 of class indices (n,)."""
    import numpy as np

    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)
    f1 = 2 * counts.diagonal() / np.maximum(counts.sum(0) + counts.sum(1), 1)
    return float(counts.trace() / counts.sum()), float(f1.mean())


def _wait() -> None:
    """Wait until the GPU has finished."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()

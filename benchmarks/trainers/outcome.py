"""What a side found: how long its steps took, and how good the model is on the test rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["WARM_UP", "Outcome", "Stopwatch", "score"]

WARM_UP = 3
"""Steps in which libraries load their kernels and find their memory."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One training by one side; travels as JSON."""

    seconds: float
    """Wall time from the begin of the first step to the end of the last epoch, with all that the side does between:
    its log, its checkpoints, its progress bar. Imports, reading, decoding and the model's making lie before it. A
    checkpoint at the very end is left out: what share it has says only how short the run is."""
    epochs: int
    examples: int
    """Of all epochs."""
    tokens: int
    """Real ones of all epochs, padding left out; 0 for images."""
    accuracy: float
    macro_f1: float
    warm_examples_per_second: float = 0.0
    """After the first steps, `WARM_UP` at least; 0 where it was not measured."""
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
    """Started by a side right before it takes its first batch, stopped when it has done its last epoch."""

    seconds = 0.0
    _started = 0.0

    def start(self) -> None:
        _wait()
        self._started = time.perf_counter()

    def stop(self) -> None:
        _wait()
        self.seconds = time.perf_counter() - self._started


def score(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[float, float]:
    """Accuracy and macro F1 of class indices (n,)."""
    import numpy as np

    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)
    f1 = 2 * counts.diagonal() / np.maximum(counts.sum(0) + counts.sum(1), 1)
    return float(counts.trace() / counts.sum()), float(f1.mean())


def _wait() -> None:
    """Let a GPU finish what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()

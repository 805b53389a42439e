"""Compare the gate's paired bootstrap of macro F1 with a bootstrap that resamples row by row."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Comparison, alternately
from modelworks.evaluation.statistics.paired_comparison import compare
from modelworks.objectives.classification import Classification

__all__ = ["measure"]

ROWS = 10_000
RESAMPLES = 10_000
CASES = ((10, 0.8), (100, 0.8), (100, 0.5))
"""Number of classes and accuracy of both models: more errors give more kinds of row."""

Answers = npt.NDArray[np.int64]


def measure(runs: int, _: Path) -> list[Comparison]:
    """Measure both sides in this process, after one uncounted comparison."""
    found = []
    for classes, right in CASES:
        rows = _rows(classes, right)
        _ours(rows, classes)
        ours, peer = alternately(runs, lambda _: _ours(rows, classes), lambda _: _row_by_row(rows, classes))  # noqa: B023
        found.append(
            Comparison(
                name=f"bootstrap of macro F1, {classes} classes, {right:.0%} right",
                unit="s",
                ours=[seconds for seconds, _ in ours],
                peer_name="row by row",
                peer=[seconds for seconds, _ in peer],
                target="<= 1 s",
                metric="deviation of the difference",
                ours_metric=ours[0][1],
                peer_metric=peer[0][1],
            )
        )
    return found


def _rows(classes: int, right: float) -> Answers:
    """Return labels and two models' predictions, (3, rows)."""
    generator = np.random.default_rng(0)
    labels, *guesses = generator.integers(classes, size=(3, ROWS))
    return np.stack([labels, *(np.where(generator.random(ROWS) < right, labels, guess) for guess in guesses)])


def _ours(rows: Answers, classes: int) -> tuple[float, float]:
    """Return the wall seconds and the standard deviation."""
    objective = Classification({"classes": [str(place) for place in range(classes)]})
    certain = np.eye(classes, dtype=np.float32)
    candidate, production = ({"predicted": each, "probabilities": certain[each]} for each in rows[1:])
    started = time.perf_counter()
    found = compare(
        objective, "macro_f1", candidate, production, {"label": rows[0]}, confidence=0.95, resamples=RESAMPLES
    )
    return time.perf_counter() - started, found.deviation / ROWS**0.5


def _row_by_row(rows: Answers, classes: int) -> tuple[float, float]:
    """Resample with NumPy as a script does: draw rows and count them per class, one resample after the other."""
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    drawn = []
    for _ in range(RESAMPLES):
        labels, *answers = rows[:, generator.integers(ROWS, size=ROWS)]
        actual = np.bincount(labels, minlength=classes)
        ours, theirs = (
            2 * np.bincount(labels[labels == each], minlength=classes) / (actual + np.bincount(each, minlength=classes))
            for each in answers
        )
        drawn.append(ours.mean() - theirs.mean())
    return time.perf_counter() - started, float(np.std(drawn))

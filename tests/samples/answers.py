"""Predictions of classifiers for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelworks.evaluation.inference import Predictions
from modelworks.objectives.classification import Classification
from modelworks.objectives.multilabel import Multilabel

__all__ = ["answers", "classifier", "label_answers", "labeller", "predictions"]


def classifier(classes: int) -> Classification:
    """Return a classification objective with numbered classes."""
    return Classification({"classes": [str(place) for place in range(classes)]})


def answers(predicted: np.ndarray, classes: int, sure: float = 1.0) -> dict[str, np.ndarray]:
    """Return the columns of predictions: classes (rows,), each with the probability `sure`."""
    probabilities = np.full((len(predicted), classes), (1 - sure) / max(classes - 1, 1), dtype=np.float32)
    probabilities[np.arange(len(predicted)), predicted] = sure
    return {"predicted": np.asarray(predicted).astype(np.int16), "probabilities": probabilities}


def labeller(labels: int) -> Multilabel:
    """An objective of any number of so many labels, named by their number."""
    return Multilabel({"classes": [str(place) for place in range(labels)], "thresholds": [0.5] * labels})


def label_answers(predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Predicted columns: which labels each row is given, uint8 (rows, labels)."""
    return {"predicted": predicted, "probabilities": predicted.astype(np.float32)}


def predictions(
    labels: np.ndarray, predicted: np.ndarray, objective: Classification, /, *, sure: float = 1.0, **more: Any
) -> Predictions:
    """Return a model's predictions for rows with these labels."""
    return Predictions(
        **{
            "rows": np.arange(len(labels)),
            "ids": tuple(f"{row:064x}" for row in range(len(labels))),
            "truth": {"label": np.asarray(labels).astype(np.int64)},
            "predicted": answers(predicted, objective.num_outputs, sure),
            "objective": objective,
            **more,
        }
    )

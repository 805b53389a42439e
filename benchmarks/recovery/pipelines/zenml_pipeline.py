"""The steps as a ZenML pipeline; its cache is on by default."""

import numpy as np
import steps
from zenml import pipeline, step


@step
def load() -> dict[str, np.ndarray]:
    return steps.load()


@step
def check(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return steps.check(rows)


@step
def train(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return steps.train(rows)


@step
def score(weights: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> float:
    return steps.score(weights, rows)


@step
def register(weights: dict[str, np.ndarray], accuracy: float) -> int:
    return steps.register(weights, accuracy)


@pipeline
def digits() -> None:
    """Train the digits and register a version."""
    rows = check(load())
    weights = train(rows)
    register(weights, score(weights, rows))


if __name__ == "__main__":
    digits()

"""The steps as a Prefect flow, with results cached by inputs and task source."""

from typing import Any

import steps
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

cached = task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)


@cached
def load() -> Any:
    return steps.load()


@cached
def check(rows: Any) -> Any:
    return steps.check(rows)


@cached
def train(rows: Any) -> Any:
    return steps.train(rows)


@cached
def score(weights: Any, rows: Any) -> float:
    return steps.score(weights, rows)


@cached
def register(weights: Any, accuracy: float) -> int:
    return steps.register(weights, accuracy)


@flow
def digits() -> int:
    """Train the digits and register a version."""
    rows = check(load())
    weights = train(rows)
    return register(weights, score(weights, rows))


if __name__ == "__main__":
    digits()

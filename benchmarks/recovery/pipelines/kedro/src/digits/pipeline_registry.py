"""The steps as a Kedro pipeline; every result is kept in a pickle."""

import steps
from kedro.pipeline import Node, Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Return the one pipeline."""
    nodes = [
        Node(steps.load, None, "loaded"),
        Node(steps.check, "loaded", "rows"),
        Node(steps.train, "rows", "weights"),
        Node(steps.score, ["weights", "rows"], "accuracy"),
        Node(steps.register, ["weights", "accuracy"], "version"),
    ]
    return {"__default__": Pipeline(nodes)}

"""Objective sections declare the same targets and metrics as the objective classes."""

from __future__ import annotations

import pytest

from modelworks.objectives import config
from modelworks.objectives.base import objective_class
from modelworks.objectives.config import KINDS

SPECS = {
    "classification": {"classes": ["a", "b"], "positive": "b"},
    "regression": {"mean": 0.0, "std": 1.0, "loss": "gaussian", "delta": 1.0},
    "multilabel": {"classes": ["a", "b"], "thresholds": [0.5, 0.5]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_config_section_declares_the_fields_of_its_objective(kind: str) -> None:
    objective = objective_class(kind)(SPECS[kind])
    extra = {"positive": "b"} if kind == "classification" else {}
    section = getattr(config, type(objective).__name__)(kind=kind, **extra)
    assert objective.kind == kind
    assert dict(section.targets) == dict(objective.targets)
    assert section.output == objective.output
    assert dict(section.metrics) == {name: metric.better for name, metric in objective.metrics.items()}
    assert list(section.metrics) == list(objective.metrics), "the first is the default of gate.compare"
    shares = {name for name, metric in objective.metrics.items() if (metric.lowest, metric.highest) == (0.0, 1.0)}
    assert section.shares == shares
    assert section.row_better == objective.row_better

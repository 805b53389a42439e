"""Candidates and production models for tests of the gate."""

from __future__ import annotations

import hashlib

import numpy as np
from samples.answers import answers as columns

from modelworks.evaluation.config import EvaluateConfig, GateConfig
from modelworks.evaluation.gate.decision import decide
from modelworks.evaluation.gate.production_baseline import Baseline
from modelworks.objectives.classification import Classification
from modelworks.records import ModelVersion, Verdict

CLASSES = ("cat", "dog", "eel")
OBJECTIVE = Classification({"classes": CLASSES})
ROWS = 400
CONFIG = EvaluateConfig(resamples=500)
GATE = GateConfig(minimums={"accuracy": 0.7, "macro_f1": 0.6}, compare="accuracy", max_regression=0.015, resamples=2000)
LABELS = np.random.default_rng(0).integers(3, size=ROWS)
IDS = tuple(hashlib.sha256(f"row {row}".encode()).hexdigest() for row in range(ROWS))


def answers(first_wrong: int, wrong: int) -> np.ndarray:
    """Return predictions that are wrong in `wrong` consecutive rows."""
    predicted = LABELS.copy()
    predicted[first_wrong : first_wrong + wrong] = (predicted[first_wrong : first_wrong + wrong] + 1) % 3
    return predicted.astype(np.int16)


def production(predicted: np.ndarray) -> Baseline:
    return Baseline(version=3, incomparable="", predicted=columns(predicted, 3), trained_on=())


def judged(version: ModelVersion, baseline: Baseline | None = None, gate: GateConfig = GATE) -> Verdict:
    return decide(version, gate, baseline, "g").verdict


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]

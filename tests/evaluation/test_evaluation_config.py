"""The gate's config section and its error messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelworks.config.run_config import load
from modelworks.errors import BadInput
from modelworks.evaluation.config import BudgetConfig, GateConfig, SliceConfig

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
name: plain
source: {kind: digits}
model: {kind: cnn}
train: {epochs: 1, batch_size: 8, learning_rate: 0.1}
gate:
  minimums: {accuracy: 0.9}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plain.yaml"
    path.write_text(CONFIG)
    return path


def test_gate_with_only_minimums_compares_with_production(file: Path) -> None:
    gate = load(file).gate
    assert gate == GateConfig(minimums={"accuracy": 0.9})
    assert (gate.max_regression, gate.confidence, gate.resamples) == (0.0, 0.95, 10_000)
    assert gate.slices is gate.budgets is None


def test_slices_and_budgets_are_read(file: Path) -> None:
    file.write_text(
        CONFIG
        + "  slices: {by: [label, camera], min_rows: 20, max_regression: 0.05, minimum: 0.6}\n"
        + "  budgets: {latency_ms: 20, size_mb: 5}\n"
    )
    gate = load(file).gate
    assert gate.slices == SliceConfig(by=("label", "camera"), min_rows=20, max_regression=0.05, minimum=0.6)
    assert gate.budgets == BudgetConfig(latency_ms=20.0, size_mb=5.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_regresion: 0.1", "plain.yaml:7: gate.max_regresion: unknown key; did you mean max_regression?"),
        ("tolerance: 0.1", "plain.yaml:7: gate.tolerance: unknown key; use one of: minimums, maximums, compare,"),
        ("resamples: 10", "plain.yaml:7: gate.resamples: should be greater than or equal to 1000"),
        ("confidence: 95", "plain.yaml:7: gate.confidence: should be less than 1"),
        ("slices: {by: [], minimum: 0.5}", "plain.yaml:7: gate.slices: by is empty"),
        ("slices: {by: [label]}", "plain.yaml:7: gate.slices: by is set without a limit"),
        ("slices: {by: [label], minimun: 0.5}", "gate.slices.minimun: unknown key; did you mean minimum?"),
        ("budgets: {}", "plain.yaml:7: gate.budgets: budgets is empty: give latency_ms or size_mb"),
        ("budgets: {size_mb: -1}", "gate.budgets.size_mb: should be greater than 0"),
    ],
)
def test_config_errors_have_file_line_and_field(file: Path, line: str, message: str) -> None:
    file.write_text(f"{CONFIG}  {line}\n")
    with pytest.raises(BadInput) as caught:
        load(file)
    assert message in caught.value.message

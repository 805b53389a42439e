"""The gate compares slices of the test rows, and rejects changed test rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation.gate.candidates import CLASSES, GATE, IDS, LABELS, ROWS, answers, failed, judged, production

from modelworks.errors import BadInput, Corrupt
from modelworks.evaluation.config import BudgetConfig, GateConfig, SliceConfig
from modelworks.evaluation.gate.decision import decide
from modelworks.evaluation.gate.slices import require_columns
from modelworks.records import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Callable


def keep_columns(version: ModelVersion, **columns: list[str | None]) -> None:
    """Store the data set with further columns; its training row is before the test rows."""
    dataset = version.evaluation.trained.report.dataset
    table = pa.table({"id": list(IDS), "label": [CLASSES[label] for label in LABELS], **columns})
    pq.write_table(table, dataset.folder / "examples.parquet")


def sliced(**limits: Any) -> GateConfig:
    return replace(GATE, max_regression=0.5, minimums={"accuracy": 0.1}, slices=SliceConfig(**limits))


def test_classes_are_always_compared(candidate: Callable[..., ModelVersion]) -> None:
    judgement = decide(candidate(answers(0, 40)), GATE, production(answers(20, 40)), "g")
    assert [each.value for each in judgement.slices] == list(CLASSES)
    assert [each.rows for each in judgement.slices] == np.bincount(LABELS).tolist()
    assert sum(each.fixed for each in judgement.slices) == sum(each.broken for each in judgement.slices) == 20
    for place, each in enumerate(judgement.slices):
        of_class = place == LABELS
        assert each.score == pytest.approx((answers(0, 40) == LABELS)[of_class].mean())
        assert each.baseline == pytest.approx((answers(20, 40) == LABELS)[of_class].mean())
        assert each.difference is not None
        assert each.difference.confidence == pytest.approx(1 - 0.05 / 3)


def test_confidence_is_corrected_for_all_judged_slices(
    candidate: Callable[..., ModelVersion],
) -> None:
    version = candidate(answers(0, 40))
    keep_columns(version, camera=["old"] * 100 + ["new"] * 290 + ["spare"] * 10, day=["even", "odd"] * 200)

    def confidences(*by: str) -> dict[str, set[float]]:
        gate = sliced(by=by, max_regression=0.1)
        found: dict[str, set[float]] = {}
        for each in decide(version, gate, production(answers(20, 40)), "g").slices:
            if each.difference is not None:  # not of the small slice
                found.setdefault(each.by, set()).add(round(each.difference.confidence, 6))
        return found

    of = {number: {round(1 - 0.05 / number, 6)} for number in (2, 3, 4, 7)}
    assert confidences("label") == {"label": of[3]}
    assert confidences("label", "camera", "day", "day") == {"label": of[7], "camera": of[7], "day": of[7]}
    assert confidences("camera", "day") == {"label": of[3], "camera": of[4], "day": of[4]}


def test_slice_below_its_minimum_rejects(candidate: Callable[..., ModelVersion]) -> None:
    predicted = np.where(LABELS == 1, (np.arange(ROWS) % 2).astype(np.int16), LABELS).astype(np.int16)
    verdict = judged(candidate(predicted), None, sliced(by=("label",), minimum=0.7))
    assert (verdict.decision, failed(verdict)) == ("reject", ["the share of right answers within each label"])
    right = (predicted == LABELS)[LABELS == 1]
    assert verdict.checks[-1].observed == f"{right.mean():.4f} of the {len(right)} rows of dog"


@pytest.mark.parametrize(
    ("lost", "decision"), [(0, "promote"), (4, "inconclusive"), (60, "reject")], ids=["none", "a few", "many"]
)
def test_significant_regression_of_a_slice_rejects(
    candidate: Callable[..., ModelVersion], lost: int, decision: str
) -> None:
    predicted = LABELS.copy()
    predicted[np.flatnonzero(LABELS == 2)[:lost]] = 0
    gate = sliced(by=("label",), max_regression=0.02)
    verdict = judged(candidate(predicted.astype(np.int16)), production(answers(0, 0)), gate)
    assert verdict.decision == decision
    check = verdict.checks[-1]
    assert check.name == "the gain in the share of right answers within each label over version 3"
    assert check.passed == (decision == "promote")
    assert ("eel -" in check.observed) == (lost > 0)


def test_slices_by_any_column_and_a_remark_on_small_ones(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    cameras: list[str | None] = ["old"] * 40 + ["new"] * 330 + ["spare"] * 20 + [None] * 10
    keep_columns(version, camera=cameras)
    verdict = judged(version, None, sliced(by=("camera",), min_rows=30, minimum=0.5))
    assert verdict.checks[-1].observed == "0.0000 of the 40 rows of old"
    assert verdict.decision == "reject"
    assert verdict.remarks == (
        "2 of 4 slices by camera have fewer than 30 test rows and were not judged: (none) (10), spare (20)",
    )


def test_only_small_slices_are_inconclusive(candidate: Callable[..., ModelVersion]) -> None:
    verdict = judged(candidate(answers(0, 40)), None, sliced(by=("label",), min_rows=300, minimum=0.5))
    assert verdict.decision == "inconclusive"
    assert verdict.checks[-1].required == "some label of 300 test rows"


def test_slice_by_unknown_column_is_bad_input(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    keep_columns(version, camera=["old"] * ROWS)
    with pytest.raises(BadInput, match=r"gate\.slices\.by: .*'lens'") as caught:
        judged(version, None, sliced(by=("lens",), minimum=0.5))
    assert caught.value.code == "gate.unknown-column"
    assert caught.value.hint.endswith(": label, camera")


def test_require_columns_rejects_an_unknown_column(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    keep_columns(version, camera=["old"] * ROWS)
    dataset = version.evaluation.trained.report.dataset
    require_columns(dataset, ["label", "camera"])
    with pytest.raises(BadInput) as caught:
        require_columns(dataset, ["label", "lens"])
    assert caught.value.code == "gate.unknown-column"


def test_changed_test_rows_are_corrupt(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    keep_columns(version, camera=["old"] * ROWS)
    folder = version.evaluation.trained.report.dataset.folder
    table = pq.read_table(folder / "examples.parquet")
    pq.write_table(table.take(list(range(ROWS))[::-1]), folder / "examples.parquet")
    with pytest.raises(Corrupt) as caught:
        judged(version, None, sliced(by=("camera",), minimum=0.5))
    assert caught.value.code == "data.changed"


@pytest.mark.parametrize(("most", "decision"), [(0.001, "reject"), (0.002, "promote")])
def test_model_larger_than_its_budget_rejects(
    candidate: Callable[..., ModelVersion], most: float, decision: str
) -> None:
    version = candidate(answers(0, 40))
    (version.evaluation.trained.model_folder / "weights").write_bytes(bytes(1500))
    verdict = judged(version, None, replace(GATE, budgets=BudgetConfig(size_mb=most)))
    assert verdict.decision == decision
    assert failed(verdict) == ([] if decision == "promote" else ["size"])
    assert verdict.checks[-1].required == f"at most {most:g} MB"

"""Decisions of the gate and their reasons."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples.answers import answers as columns
from samples.answers import predictions
from samples.datasets import labelled
from scipy.stats import binomtest

from modelworks.errors import BadInput, Corrupt
from modelworks.evaluation import inference
from modelworks.evaluation.config import BudgetConfig, EvaluateConfig, GateConfig, SliceConfig
from modelworks.evaluation.gate.decision import decide
from modelworks.evaluation.gate.production_baseline import Baseline
from modelworks.evaluation.gate.slices import require_columns
from modelworks.evaluation.near_duplicates import search
from modelworks.evaluation.statistics.intervals import intervals
from modelworks.objectives.classification import Classification
from modelworks.records import Check, DatasetVersion, Evaluation, ModelVersion, TrainedModel, ValidationReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


@pytest.fixture
def candidate(tmp_path: Path) -> Callable[..., ModelVersion]:
    def make(predicted: np.ndarray, learned_from: tuple[str, ...] = ()) -> ModelVersion:
        dataset = DatasetVersion(
            name="pets",
            folder=tmp_path,
            digest="d",
            features=labelled("image", CLASSES),
            rows=ROWS,
            source={},
            licence="",
        )
        report = ValidationReport(
            dataset=dataset, key="v", folder=tmp_path, checks=(), quarantined=0, warnings=(), rows={}
        )
        trained = TrainedModel(
            report=report, key="t", folder=tmp_path, num_parameters=1, num_steps=1, seconds=1.0,
            examples_per_second=1.0, device="cpu", precision="fp32", threads=1, processes=1, shard=False,
        )  # fmt: skip
        trained.model_folder.mkdir()
        learned = np.array([int(each[:16], 16) for each in learned_from], dtype=np.uint64)
        np.save(trained.model_folder / "training_ids.npy", np.sort(learned))
        found = predictions(LABELS, predicted, OBJECTIVE, ids=IDS)
        inference.write(found, tmp_path)
        trivial = OBJECTIVE.baseline(found.truth, ROWS)
        inference.write(replace(found, predicted=trivial), tmp_path, inference.BASELINE)
        nothing = search.NearDuplicates(tested=ROWS, rows=0, examples=(), metrics={}, without={})
        search.write(nothing, tmp_path)
        evaluation = Evaluation(
            trained=trained,
            key="e",
            folder=tmp_path,
            rows=ROWS,
            metrics=intervals(OBJECTIVE, found.predicted, found.truth, CONFIG),
            baseline=OBJECTIVE.point_estimates(trivial, found.truth),
        )
        return ModelVersion(
            evaluation=evaluation, key="p", name="pets", version=4, run_id="r", experiment_id="1", digest="d"
        )

    return make


def production(predicted: np.ndarray) -> Baseline:
    return Baseline(version=3, incomparable="", predicted=columns(predicted, 3), trained_on=())


def judged(version: ModelVersion, baseline: Baseline | None = None, gate: GateConfig = GATE) -> Verdict:
    return decide(version, gate, baseline, "g").verdict


def comparison(verdict: Verdict) -> Check:
    (check,) = (check for check in verdict.checks if check.name == "the gain in accuracy over version 3")
    return check


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_first_version_needs_only_the_minimums(candidate: Callable[..., ModelVersion]) -> None:
    verdict = judged(candidate(answers(0, 100)), None)
    assert (verdict.decision, verdict.baseline, failed(verdict)) == ("promote", 0, [])


def test_production_is_not_compared_with_itself(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 100))
    verdict = judged(version, replace(production(answers(0, 0)), version=version.version))
    assert (verdict.decision, verdict.baseline) == ("promote", 0)


def test_missed_minimum_rejects_although_production_is_worse(candidate: Callable[..., ModelVersion]) -> None:
    verdict = judged(candidate(answers(0, 150)), production(answers(0, 300)))
    assert (verdict.decision, failed(verdict)) == ("reject", ["accuracy"])
    assert verdict.reasons[0].startswith("failed: accuracy is 0.6250 [0.5")
    assert verdict.reasons[0].endswith("], required at least 0.7")


@pytest.mark.parametrize(
    ("candidates", "productions", "decision"),
    [
        (answers(0, 40), answers(0, 80), "promote"),
        (answers(0, 40), answers(0, 40), "promote"),
        (answers(0, 80), answers(0, 40), "reject"),
        (answers(0, 40), answers(40, 40), "inconclusive"),
        (answers(0, 48), answers(0, 40), "inconclusive"),
    ],
    ids=["better", "identical", "worse", "as good, on other rows", "slightly worse, perhaps within the tolerance"],
)
def test_interval_of_the_difference_decides(
    candidate: Callable[..., ModelVersion], candidates: np.ndarray, productions: np.ndarray, decision: str
) -> None:
    verdict = judged(candidate(candidates), production(productions))
    assert (verdict.decision, verdict.baseline) == (decision, 3)
    assert failed(verdict) == ([] if decision == "promote" else ["the gain in accuracy over version 3"])


def test_interval_end_equal_to_the_limit_is_not_above_it(candidate: Callable[..., ModelVersion]) -> None:
    # Wrong on every row where production is right: the interval is [-1, -1], equal to the limit up to rounding.
    gate = GateConfig(minimums={"accuracy": 0.0}, compare="accuracy", max_regression=1 - 2**-53)
    verdict = judged(candidate(answers(0, ROWS)), production(answers(0, 0)), gate)
    assert comparison(verdict).observed == "-1.0000 [-1.0000, -1.0000]; no number of test rows would suffice"
    assert not comparison(verdict).passed


def test_comparison_shows_interval_and_requirement(candidate: Callable[..., ModelVersion]) -> None:
    check = comparison(judged(candidate(answers(0, 80)), production(answers(0, 40))))
    assert check.observed.startswith("-0.1000 [-0.1")
    assert check.required == "interval above -0.015"


def test_verdict_has_a_remark_with_mcnemars_p_value(candidate: Callable[..., ModelVersion]) -> None:
    verdict = judged(candidate(answers(0, 40)), production(answers(30, 40)))
    p = binomtest(30, 60).pvalue
    assert verdict.remarks[0] == (
        f"of 400 test rows 30 improved and 30 worsened against version 3: McNemar's exact p is {p:.3g}"
    )
    assert verdict.changes is not None
    assert (verdict.changes.fixed, verdict.changes.broken, verdict.changes.otherwise) == (30, 30, 0)
    assert verdict.changes.churn == pytest.approx(60 / 400)


def test_inconclusive_comparison_shows_the_number_of_rows_needed(candidate: Callable[..., ModelVersion]) -> None:
    verdict = judged(candidate(answers(0, 36)), production(answers(0, 40)))
    assert verdict.decision == "promote"
    assert "would suffice" not in comparison(verdict).observed

    verdict = judged(verdict.version, production(answers(0, 40)), replace(GATE, max_regression=0.0))
    assert verdict.decision == "inconclusive"
    # 4 of 400 rows differ, all improved: ((1.9600 + 0.8416) / 0.01) ** 2 * 0.01 * 0.99 is 777.
    assert re.search(r"; about 7[6789]0 test rows would suffice, there are 400$", comparison(verdict).observed)


def test_verdict_has_a_remark_on_near_duplicates(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    figures = dict.fromkeys(OBJECTIVE.metrics, 0.9)
    found = search.NearDuplicates(
        tested=400, rows=12, examples=(), metrics=figures, without={**figures, "accuracy": 0.8933}
    )
    search.write(found, version.evaluation.folder)
    verdict = judged(version)
    assert verdict.decision == "promote"
    assert verdict.remarks == (
        "12 of 400 test rows are near-duplicates of training rows; without them accuracy is 0.8933 rather than 0.9000",
    )


@pytest.mark.parametrize("side", ["the candidate", "version 3"])
def test_test_rows_in_a_training_set_reject(candidate: Callable[..., ModelVersion], side: str) -> None:
    ours = side == "the candidate"
    version = candidate(answers(0, 40), learned_from=IDS[7:12] if ours else ())
    baseline = replace(production(answers(0, 80)), trained_on=() if ours else IDS[7:12])
    verdict = judged(version, baseline)
    name = f"the number of test rows that {side} was trained on"
    assert (verdict.decision, failed(verdict)) == ("reject", [name])
    check = next(check for check in verdict.checks if check.name == name)
    assert check.observed.startswith(f"5 of 400 ({IDS[7][:12]}, ")
    assert not any("over version" in check.name for check in verdict.checks)


def test_test_rows_in_the_training_set_reject_a_first_version(candidate: Callable[..., ModelVersion]) -> None:
    assert judged(candidate(answers(0, 40), learned_from=IDS[:1]), None).decision == "reject"


def test_other_classes_than_productions_reject(candidate: Callable[..., ModelVersion]) -> None:
    reason = OBJECTIVE.comparable(Classification({"classes": ("cat", "dog", "fox")}))
    baseline = replace(production(answers(0, 0)), incomparable=reason, predicted={})
    verdict = judged(candidate(answers(0, 40)), baseline)
    assert (verdict.decision, failed(verdict)) == ("reject", ["the model's task"])
    assert "1 class is new: eel; 1 class is gone: fox, required the same as version 3" in verdict.reasons[-1]
    assert verdict.checks[-1].hint.endswith("modelworks promote pets 4 --override --reason TEXT")


@pytest.mark.parametrize("answer", ["most frequent class", "random"])
def test_no_gain_over_the_trivial_baseline_rejects(candidate: Callable[..., ModelVersion], answer: str) -> None:
    predicted = np.random.default_rng(1).integers(3, size=ROWS)
    if answer == "most frequent class":
        predicted[:] = np.bincount(LABELS).argmax()
    verdict = judged(candidate(predicted), None, GateConfig(minimums={"accuracy": 0.0}, compare="accuracy"))
    assert (verdict.decision, failed(verdict)) == ("reject", ["the gain in accuracy over the trivial baseline"])
    check = next(check for check in verdict.checks if not check.passed)
    assert re.fullmatch(r"[+-]0\.\d{4} \[-0\.\d{4}, \+0\.\d{4}\]", check.observed)
    assert check.required == "interval above 0"
    assert check.hint


def test_maximum_limits_a_metric_that_should_be_low(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    loss = version.evaluation.metrics["log_loss"].value
    for limit, decision in ((loss + 0.01, "promote"), (loss - 0.01, "reject")):
        verdict = judged(version, None, GateConfig(maximums={"log_loss": limit}, compare="accuracy"))
        assert verdict.decision == decision
        assert verdict.checks[0].required == f"at most {limit:g}"


def test_metric_that_should_be_low_is_compared_by_its_gain(candidate: Callable[..., ModelVersion]) -> None:
    gate = GateConfig(minimums={"accuracy": 0.1}, compare="log_loss")
    verdict = judged(candidate(answers(0, 40)), production(answers(0, 80)), gate)
    check = next(check for check in verdict.checks if check.name == "the gain in log_loss over version 3")
    assert check.observed.startswith("+")
    assert check.passed
    # One confident error in ten rows has a higher log loss than the classes' shares of the training rows.
    assert failed(verdict) == ["the gain in log_loss over the trivial baseline"]


def test_default_comparison_metric_is_the_objectives_first(candidate: Callable[..., ModelVersion]) -> None:
    verdict = judged(candidate(answers(0, 40)), production(answers(0, 80)), GateConfig(minimums={"accuracy": 0.1}))
    assert "the gain in macro_f1 over version 3" in [check.name for check in verdict.checks]


def test_missing_list_of_training_rows_is_corrupt(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    (version.evaluation.trained.model_folder / "training_ids.npy").unlink()
    with pytest.raises(Corrupt, match="training_ids") as caught:
        judged(version, None)
    assert caught.value.code == "model.damaged"


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

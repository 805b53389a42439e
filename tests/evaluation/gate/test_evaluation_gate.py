"""Decisions of the gate and their reasons."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation.gate.candidates import GATE, IDS, LABELS, OBJECTIVE, ROWS, answers, failed, judged, production
from scipy.stats import binomtest

from modelworks.errors import Corrupt
from modelworks.evaluation.config import GateConfig
from modelworks.evaluation.near_duplicates import search
from modelworks.objectives.classification import Classification
from modelworks.records import Check, ModelVersion, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable


def comparison(verdict: Verdict) -> Check:
    (check,) = (check for check in verdict.checks if check.name == "the gain in accuracy over version 3")
    return check


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

"""What the gate decides, and that a person can read why."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from modelworks.errors import Corrupt
from modelworks.evaluation import predict
from modelworks.evaluation.bootstrap import intervals
from modelworks.evaluation.config import EvaluateConfig, GateConfig
from modelworks.evaluation.gate import decide
from modelworks.evaluation.opponent import Opponent
from modelworks.records import DatasetVersion, Evaluation, ModelVersion, TrainedModel, ValidationReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = ("cat", "dog", "eel")
ROWS = 400
CONFIG = EvaluateConfig(resamples=500)
GATE = GateConfig(minimums={"accuracy": 0.7, "macro_f1": 0.6}, compare="accuracy", tolerance=0.01)
LABELS = np.random.default_rng(0).integers(3, size=ROWS)
IDS = tuple(hashlib.sha256(f"row {row}".encode()).hexdigest() for row in range(ROWS))


def answers(first_wrong: int, wrong: int) -> np.ndarray:
    """Predictions that are right but for some rows in succession."""
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
            modality="image",
            classes=CLASSES,
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
        predictions = predict.Predictions(
            rows=np.arange(ROWS),
            ids=IDS,
            labels=LABELS.astype(np.int16),
            predicted=predicted,
            probabilities=np.eye(3, dtype=np.float32)[predicted],
        )
        predict.write(predictions, tmp_path)
        metrics = intervals(predictions.labels, predicted, predictions.probabilities, CONFIG)
        evaluation = Evaluation(trained=trained, key="e", folder=tmp_path, rows=ROWS, metrics=metrics)
        return ModelVersion(
            evaluation=evaluation, key="p", name="pets", version=4, run_id="r", experiment_id="1", digest="d"
        )

    return make


def production(predictions: np.ndarray) -> Opponent:
    return Opponent(version=3, modality="image", classes=CLASSES, predictions=predictions, trained_on=())


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_first_version_needs_the_minimums_alone(candidate: Callable[..., ModelVersion]) -> None:
    verdict = decide(candidate(answers(0, 100)), GATE, CONFIG, None, "g")
    assert (verdict.decision, verdict.opponent, failed(verdict)) == ("promote", 0, [])


def test_production_is_no_opponent_of_itself(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 100))
    verdict = decide(version, GATE, CONFIG, replace(production(answers(0, 0)), version=version.version), "g")
    assert (verdict.decision, verdict.opponent) == ("promote", 0)


def test_missed_minimum_keeps_production_however_bad_that_is(candidate: Callable[..., ModelVersion]) -> None:
    verdict = decide(candidate(answers(0, 150)), GATE, CONFIG, production(answers(0, 300)), "g")
    assert (verdict.decision, failed(verdict)) == ("keep", ["accuracy"])
    assert verdict.reasons[0].startswith("failed: accuracy is 0.6250 [0.5")
    assert verdict.reasons[0].endswith("], demanded at least 0.7")


@pytest.mark.parametrize(
    ("candidates", "productions", "decision"),
    [
        (answers(0, 40), answers(0, 80), "promote"),
        (answers(0, 40), answers(0, 40), "promote"),
        (answers(0, 80), answers(0, 40), "keep"),
        (answers(0, 40), answers(40, 40), "not enough evidence"),
        (answers(0, 48), answers(0, 40), "not enough evidence"),
    ],
    ids=["better", "identical", "worse", "as good, on other rows", "a little worse, perhaps within the tolerance"],
)
def test_interval_of_the_difference_decides(
    candidate: Callable[..., ModelVersion], candidates: np.ndarray, productions: np.ndarray, decision: str
) -> None:
    verdict = decide(candidate(candidates), GATE, CONFIG, production(productions), "g")
    assert (verdict.decision, verdict.opponent) == (decision, 3)
    assert failed(verdict) == ([] if decision == "promote" else ["accuracy minus version 3's"])


def test_an_end_that_touches_the_tolerance_has_reached_it(candidate: Callable[..., ModelVersion]) -> None:
    # Wrong in every row where production is right: the interval is the point -1, which 1 - 2**-53 just does not allow.
    gate = GateConfig(minimums={"accuracy": 0.0}, compare="accuracy", tolerance=1 - 2**-53)
    verdict = decide(candidate(answers(0, ROWS)), gate, CONFIG, production(answers(0, 0)), "g")
    assert verdict.checks[-1].found == "-1.0000 [-1.0000, -1.0000]"
    assert verdict.decision == "promote"


def test_comparison_shows_its_interval_and_the_demand(candidate: Callable[..., ModelVersion]) -> None:
    verdict = decide(candidate(answers(0, 80)), GATE, CONFIG, production(answers(0, 40)), "g")
    check = verdict.checks[-1]
    assert check.found.startswith("-0.1000 [-0.1")
    assert check.demanded == "nowhere in the interval below -0.01"


@pytest.mark.parametrize("side", ["the candidate", "version 3"])
def test_rows_that_a_model_learned_from_cannot_judge_it(candidate: Callable[..., ModelVersion], side: str) -> None:
    ours = side == "the candidate"
    version = candidate(answers(0, 40), learned_from=IDS[7:12] if ours else ())
    opponent = replace(production(answers(0, 80)), trained_on=() if ours else IDS[7:12])
    verdict = decide(version, GATE, CONFIG, opponent, "g")
    name = f"the number of test rows that {side} was trained on"
    assert (verdict.decision, failed(verdict)) == ("keep", [name])
    check = next(check for check in verdict.checks if check.name == name)
    assert check.found.startswith(f"5 of 400 ({IDS[7][:12]}, ")
    assert not any("minus" in check.name for check in verdict.checks)


def test_a_first_version_is_judged_on_unseen_rows_too(candidate: Callable[..., ModelVersion]) -> None:
    assert decide(candidate(answers(0, 40), learned_from=IDS[:1]), GATE, CONFIG, None, "g").decision == "keep"


def test_other_classes_than_productions_cannot_be_compared(candidate: Callable[..., ModelVersion]) -> None:
    opponent = Opponent(
        version=3, modality="image", classes=("cat", "dog"), predictions=np.empty(0, dtype=np.int16), trained_on=()
    )
    verdict = decide(candidate(answers(0, 40)), GATE, CONFIG, opponent, "g")
    assert (verdict.decision, failed(verdict)) == ("keep", ["what is told apart"])
    assert "3 classes of images (with eel), demanded as for version 3, 2 classes of images" in verdict.reasons[-1]


def test_a_model_that_hides_its_lessons_is_not_judged(candidate: Callable[..., ModelVersion]) -> None:
    version = candidate(answers(0, 40))
    (version.evaluation.trained.model_folder / "training_ids.npy").unlink()
    with pytest.raises(Corrupt, match="training_ids"):
        decide(version, GATE, CONFIG, None, "g")

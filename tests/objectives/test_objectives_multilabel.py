from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
import torch

from modelworks.objectives.multilabel import Multilabel

RNG = np.random.default_rng(0)
WANTED = (RNG.random((300, 3)) < 0.4).astype(np.uint8)
PROBABILITIES = np.clip(WANTED * 0.5 + RNG.random((300, 3)) * 0.6, 0, 1).astype(np.float32)


def fitted() -> Multilabel:
    return Multilabel.fit({}, {"labels": {"kind": "labels", "classes": ["a", "b", "c"]}}, [])


def predicted(objective: Multilabel) -> dict[str, np.ndarray]:
    return objective.predict(torch.logit(torch.tensor(PROBABILITIES), eps=1e-6))


def test_labels_are_encoded_as_columns() -> None:
    assert fitted().encode({"labels": [["b"], ["c", "a"], []]})["labels"].tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_metrics_equal_scikit_learn() -> None:
    objective = fitted()
    answers = predicted(objective)
    found = objective.point_estimates(answers, {"labels": WANTED})
    assert found["micro_f1"] == pytest.approx(reference.f1_score(WANTED, answers["predicted"], average="micro"))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(WANTED, answers["predicted"], average="macro"))
    assert found["subset_accuracy"] == pytest.approx(reference.accuracy_score(WANTED, answers["predicted"]))


def test_tuned_thresholds_have_the_best_f1() -> None:
    objective = fitted()
    objective.tune({"probabilities": PROBABILITIES}, {"labels": WANTED})
    tried = np.linspace(0.01, 0.99, 197)
    for index, threshold in enumerate(objective.spec["thresholds"]):
        wanted, probabilities = WANTED[:, index], PROBABILITIES[:, index]
        best = max(reference.f1_score(wanted, probabilities >= each) for each in tried)
        assert reference.f1_score(wanted, probabilities >= threshold) >= best - 1e-9


def test_label_without_validation_rows_keeps_its_threshold() -> None:
    objective = fitted()
    objective.tune({"probabilities": PROBABILITIES}, {"labels": np.zeros_like(WANTED)})
    assert objective.spec["thresholds"] == [0.5, 0.5, 0.5]


def test_trivial_baseline_is_never_empty() -> None:
    answer = fitted().baseline({"labels": WANTED}, 2)["predicted"]
    assert answer.tolist() == [answer[0].tolist()] * 2
    assert answer[0].sum() >= 1


def test_other_labels_cannot_be_compared() -> None:
    other = Multilabel({"classes": ["a", "b", "d"], "thresholds": [0.5] * 3})
    assert fitted().comparable(other) == "labels differ: c, d"
    assert fitted().comparable(fitted()) == ""


def test_answers_have_labels_and_probabilities() -> None:
    objective = fitted()
    (answer,) = objective.answers({name: values[:1] for name, values in predicted(objective).items()})
    assert answer["labels"] == [name for name, each in zip("abc", PROBABILITIES[0], strict=True) if each >= 0.5]
    assert answer["probabilities"] == pytest.approx(dict(zip("abc", PROBABILITIES[0].tolist(), strict=True)), abs=1e-5)

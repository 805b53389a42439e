"""Records survive a round trip through JSON, also in a project that was moved."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from samples.datasets import labelled

from modelworks.record_json import from_json, to_json, verdict
from modelworks.records import (
    Check,
    DatasetVersion,
    Evaluation,
    Interval,
    ModelVersion,
    Promotion,
    TrainedModel,
    ValidationReport,
    Verdict,
)


def promotion(root: Path) -> Promotion:
    dataset = DatasetVersion(
        name="digits",
        folder=root / "data" / "digits",
        digest="0" * 32 + ".dir",
        features=labelled("image", ("0", "1")),
        rows=10,
        source={"kind": "digits", "nested": {"numbers": [1, 2]}},
        licence="BSD-3-Clause",
    )
    check = Check(name="rows", passed=True, observed="10", required=">= 5")
    report = ValidationReport(
        dataset=dataset,
        key="a",
        folder=root / "validate",
        checks=(check,),
        quarantined=1,
        warnings=("one", "two"),
        rows={"train": 7, "test": 2},
    )
    trained = TrainedModel(
        report=report,
        key="b",
        folder=Path("/elsewhere/train"),
        num_parameters=12,
        num_steps=3,
        seconds=0.5,
        examples_per_second=20.0,
        device="cpu",
        precision="bf16",
        threads=2,
        processes=1,
        shard=False,
    )
    interval = Interval(value=0.9, low=0.8, high=1.0, confidence=0.95)
    evaluation = Evaluation(trained=trained, key="c", folder=root / "evaluate", rows=2, metrics={"accuracy": interval})
    version = ModelVersion(
        evaluation=evaluation, key="d", name="digits-cnn", version=3, run_id="r", experiment_id="1", digest="f" * 64
    )
    verdict = Verdict(version=version, key="e", decision="reject", checks=(check,), baseline=2)
    return Promotion(verdict=verdict, moved=False, production=2)


def test_longest_chain_of_records_survives_json() -> None:
    root = Path("/project")
    record = promotion(root)
    assert from_json(Promotion, json.loads(json.dumps(to_json(record, root))), root) == record


def test_paths_are_relative_to_the_project() -> None:
    moved = from_json(Promotion, to_json(promotion(Path("/old")), Path("/old")), Path("/new"))
    assert moved == promotion(Path("/new"))


def test_paths_outside_the_project_stay_absolute() -> None:
    written = to_json(promotion(Path("/project")), Path("/project"))
    trained = written["verdict"]["version"]["evaluation"]["trained"]
    assert trained["folder"] == "/elsewhere/train"
    assert trained["report"]["folder"] == "validate"


def test_records_of_an_earlier_release_are_read() -> None:
    root = Path("/project")
    record = promotion(root)
    stored = to_json(record, root)
    stored["verdict"] |= {"decision": "keep", "opponent": stored["verdict"].pop("baseline")}
    for check in (
        *stored["verdict"]["checks"],
        *stored["verdict"]["version"]["evaluation"]["trained"]["report"]["checks"],
    ):
        check |= {"found": check.pop("observed"), "demanded": check.pop("required")}
    dataset = stored["verdict"]["version"]["evaluation"]["trained"]["report"]["dataset"]
    dataset |= {"modality": "image", "classes": dataset.pop("features")["label"]["classes"]}
    assert from_json(Promotion, stored, root) == record


def test_slices_of_an_earlier_verdict_have_a_score_and_a_gain() -> None:
    slices = [{"accuracy": 0.75, "opponent": score} for score in (0.5, None)]
    found = verdict({"decision": "keep", "opponent": 2, "checks": [], "slices": slices})
    assert [(each["score"], each["baseline"], each["gain"]) for each in found["slices"]] == [
        (0.75, 0.5, 0.25),
        (0.75, None, None),
    ]


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        promotion(Path("/project")).moved = True  # type: ignore[misc]  # the assignment must fail


def test_verdict_has_reasons_and_interval_has_a_text_form() -> None:
    verdict = promotion(Path("/project")).verdict
    assert verdict.reasons == ("passed: rows is 10, required >= 5",)
    assert str(verdict.version.evaluation.metrics["accuracy"]) == "0.9000 [0.8000, 1.0000]"

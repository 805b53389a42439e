"""A verdict comes back from the registry as it was given, whichever version of this program gave it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import labelled

from modelworks.pipeline.status import recorded_verdict
from modelworks.records import (
    Changes,
    Check,
    DatasetVersion,
    Evaluation,
    ModelVersion,
    TrainedModel,
    ValidationReport,
    Verdict,
)
from modelworks.registry.tracking import tags
from modelworks.registry.versions.queries import Registered

HERE = Path("/project")
CHECK = Check(name="accuracy", passed=True, found="0.9", demanded="at least 0.8")
CHANGES = Changes(
    rows=100,
    fixed=5,
    broken=2,
    otherwise=1,
    p_value=0.45,
    calibration_error=0.02,
    opponent_calibration_error=0.03,
)


@pytest.fixture
def version() -> ModelVersion:
    dataset = DatasetVersion(
        name="digits", folder=HERE, digest="d", features=labelled("image", ("0", "1")), rows=9, source={}, licence=""
    )
    report = ValidationReport(dataset=dataset, key="v", folder=HERE, checks=(), quarantined=0, warnings=(), rows={})
    trained = TrainedModel(
        report=report, key="t", folder=HERE, num_parameters=1, num_steps=1, seconds=1.0,
        examples_per_second=1.0, device="cpu", precision="fp32", threads=1, processes=1, shard=False,
    )  # fmt: skip
    evaluation = Evaluation(trained=trained, key="e", folder=HERE, rows=100, metrics={})
    return ModelVersion(
        evaluation=evaluation, key="p", name="digits-cnn", version=4, run_id="r", experiment_id="1", digest="d"
    )


@pytest.mark.parametrize("changes", [CHANGES, None])
def test_a_verdict_comes_back_whole(version: ModelVersion, changes: Changes | None) -> None:
    given = Verdict(
        version=version,
        key="g",
        decision="promote",
        checks=(CHECK,),
        opponent=3,
        remarks=("5 of 100 test rows nearly repeat training rows",),
        changes=changes,
    )
    registered = Registered(name="digits-cnn", version=4, tags=tags.verdict_tags(given))
    assert recorded_verdict(registered, version, "g") == given


def test_a_verdict_of_an_earlier_gate_can_be_read(version: ModelVersion) -> None:
    older = {"decision": "keep", "opponent": 2, "checks": [vars(CHECK)]}
    registered = Registered(name="digits-cnn", version=4, tags={tags.VERDICT: json.dumps(older)})
    expected = Verdict(version=version, key="g", decision="keep", checks=(CHECK,), opponent=2)
    assert recorded_verdict(registered, version, "g") == expected


def test_a_verdict_too_long_for_a_tag_keeps_its_failed_checks_and_what_changes(version: ModelVersion) -> None:
    many = tuple(Check(name=f"check {place}", passed=place != 99, found="x" * 40, demanded="y") for place in range(100))
    given = Verdict(
        version=version, key="g", decision="keep", checks=many, opponent=3, remarks=("z" * 900,), changes=CHANGES
    )
    text = tags.verdict_tags(given)[tags.VERDICT]
    kept = recorded_verdict(Registered(name="digits-cnn", version=4, tags={tags.VERDICT: text}), version, "g")
    assert len(text) < tags.LONGEST
    assert kept.checks[0] == many[99]
    assert kept.changes == CHANGES
    assert len(kept.checks) + json.loads(text)["left_out"] == 100

"""Verdicts stored in the registry, also by earlier releases, are read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples.datasets import labelled

from modelworks.pipeline.status import recorded_verdict
from modelworks.records import (
    Changes,
    Check,
    DatasetVersion,
    Decision,
    Evaluation,
    ModelVersion,
    TrainedModel,
    ValidationReport,
    Verdict,
)
from modelworks.registry.tracking import tags
from modelworks.registry.versions.queries import Registered

HERE = Path("/project")
CHECK = Check(name="accuracy", passed=True, observed="0.9", required="at least 0.8")
CHANGES = Changes(
    rows=100,
    fixed=5,
    broken=2,
    otherwise=1,
    p_value=0.45,
    calibration_error=0.02,
    baseline_calibration_error=0.03,
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
def test_stored_verdict_is_read_back_unchanged(version: ModelVersion, changes: Changes | None) -> None:
    given = Verdict(
        version=version,
        key="g",
        decision="promote",
        checks=(CHECK,),
        baseline=3,
        remarks=("5 of 100 test rows nearly repeat training rows",),
        changes=changes,
    )
    registered = Registered(name="digits-cnn", version=4, tags=tags.verdict_tags(given))
    assert recorded_verdict(registered, version, "g") == given


@pytest.mark.parametrize(("stored", "decision"), [("keep", "reject"), ("not enough evidence", "inconclusive")])
def test_verdict_of_an_earlier_release_is_converted(version: ModelVersion, stored: str, decision: Decision) -> None:
    check = {"name": CHECK.name, "passed": True, "found": CHECK.observed, "demanded": CHECK.required}
    older = {"decision": stored, "opponent": 2, "checks": [check]}
    registered = Registered(name="digits-cnn", version=4, tags={tags.VERDICT: json.dumps(older), tags.DECISION: stored})
    expected = Verdict(version=version, key="g", decision=decision, checks=(CHECK,), baseline=2)
    assert recorded_verdict(registered, version, "g") == expected
    assert registered.decision == decision


def test_verdict_too_long_for_a_tag_keeps_failed_checks_and_changes(version: ModelVersion) -> None:
    many = tuple(
        Check(name=f"check {place}", passed=place != 99, observed="x" * 40, required="y") for place in range(100)
    )
    given = Verdict(
        version=version, key="g", decision="reject", checks=many, baseline=3, remarks=("z" * 900,), changes=CHANGES
    )
    text = tags.verdict_tags(given)[tags.VERDICT]
    kept = recorded_verdict(Registered(name="digits-cnn", version=4, tags={tags.VERDICT: text}), version, "g")
    assert len(text) < tags.LONGEST
    assert kept.checks[0] == many[99]
    assert kept.changes == CHANGES
    assert len(kept.checks) + json.loads(text)["left_out"] == 100

"""A candidate that the gate rejects is registered with its verdict, and production does not change."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

REJECTED = ("configs/digits_cnn.yaml", "--set", "train.epochs=1", "--set", "gate.minimums.accuracy=1.0")


def artifacts_of(flow_run: str, url: str) -> dict[str, dict[str, Any]]:
    """Return the artifacts of a flow run, by key."""
    body = json.dumps({"artifacts": {"flow_run_id": {"any_": [flow_run]}}}).encode()
    request = urllib.request.Request(f"{url}/artifacts/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return {each["key"]: each for each in json.load(response)}


@pytest.mark.slow
def test_rejected_candidate_is_registered_with_its_verdict_and_production_stays(after_digits: Workspace) -> None:
    outcome = after_digits.run("run", *REJECTED, "--json")

    assert (outcome.code, outcome.error_code) == (3, "gate.not-promoted")
    assert outcome.complaint[0].startswith("refused: ")
    assert "digits-cnn version 2" in outcome.complaint[0]
    assert len(outcome.complaint) == 2
    summary = outcome.object
    assert (summary["verdict"], summary["version"], summary["production"]) == ("reject", 2, 1)
    assert any(reason.startswith("failed: accuracy is ") for reason in summary["reasons"])
    assert after_digits.registered() == {"digits-cnn": [1, 2]}
    assert after_digits.production("digits-cnn") == 1
    assert after_digits.client.get_run(summary["mlflow_run_id"]).info.status == "FINISHED"

    verdict = after_digits.done("why", "digits-cnn", "2")
    assert (verdict["decision"], verdict["baseline"], verdict["production"]) == ("reject", 1, 1)
    (failed,) = (check for check in verdict["checks"] if check["name"] == "accuracy")
    assert not failed["passed"]
    assert failed["required"] == "at least 1"
    printed = after_digits.run("why", "digits-cnn").stdout
    assert "FAILED  accuracy is " in printed

    # The changes of predictions: in the registry, in MLflow, and as text.
    changes = verdict["changes"]
    assert changes["rows"] == sum(each["rows"] for each in verdict["slices"] if each["by"] == "label")
    assert changes["broken"] == sum(each["broken"] for each in verdict["slices"]) > 0
    assert f"{changes['fixed']} better, {changes['broken']} worse" in printed
    assert {each["value"] for each in verdict["slices"]} == set("0123456789")
    logged = {item.path for item in after_digits.client.list_artifacts(summary["mlflow_run_id"], "verdict")}
    assert {f"verdict/{name}" for name in ("verdict.html", "verdict.json", "differences.png")} <= logged
    note = after_digits.client.get_run(summary["mlflow_run_id"]).data.tags["mlflow.note.content"]
    assert f"| worse | {changes['broken']} |" in note

    # The same text as an artifact of the Prefect flow run, and a link to MLflow.
    shown = artifacts_of(summary["prefect_flow_run_id"], after_digits.environment["PREFECT_API_URL"])
    assert {"digits-cnn-verdict", "digits-cnn-mlflow"} <= set(shown)  # Prefect adds the result, without a key
    page = shown["digits-cnn-verdict"]
    assert (page["type"], page["data"]) == ("markdown", note)
    assert page["data"].startswith("### digits-cnn version 2: reject\n")
    rows = [row.strip("| ").split(" | ") for row in page["data"].splitlines() if row.startswith("|")]
    assert ["accuracy", failed["observed"], "at least 1", "**failed**"] in rows
    assert summary["mlflow_run_id"] in shown["digits-cnn-mlflow"]["data"]

    again = after_digits.run("run", *REJECTED, "--json")
    assert again.code == 3
    assert "nothing to do" in again.stderr
    assert after_digits.registered() == {"digits-cnn": [1, 2]}

    by_hand = after_digits.run("promote", "digits-cnn", "2")
    assert (by_hand.code, by_hand.error_code) == (3, "production.not-accepted")
    assert after_digits.run("promote", "digits-cnn", "2", "--override").code == 2  # no reason given
    assert after_digits.production("digits-cnn") == 1

    overridden = after_digits.done("promote", "digits-cnn", "2", "--override", "--reason", "wanted")
    assert (overridden["from"], overridden["production"], overridden["moved"]) == (1, 2, True)
    assert after_digits.done("history", "digits-cnn")["moves"][0]["overridden"] is True
    assert after_digits.run("run", *REJECTED).code == 0  # it is production now

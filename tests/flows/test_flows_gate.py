"""A candidate that the gate refuses is kept with its verdict; production stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Workspace

REFUSED = ("configs/digits_cnn.yaml", "--set", "train.epochs=1", "--set", "gate.minimums.accuracy=1.0")


def test_a_refused_candidate_is_registered_with_its_verdict_and_production_stays(after_digits: Workspace) -> None:
    outcome = after_digits.run("run", *REFUSED, "--json")

    assert outcome.code == 3
    assert outcome.complaint[0].startswith("refused: ")
    assert "digits-cnn version 2" in outcome.complaint[0]
    assert len(outcome.complaint) == 2
    summary = outcome.object
    assert (summary["verdict"], summary["version"], summary["production"]) == ("keep", 2, 1)
    assert any(reason.startswith("failed: accuracy is ") for reason in summary["reasons"])
    assert after_digits.registered() == {"digits-cnn": [1, 2]}
    assert after_digits.production("digits-cnn") == 1
    assert after_digits.client.get_run(summary["mlflow_run_id"]).info.status == "FINISHED"

    verdict = after_digits.done("why", "digits-cnn", "2")
    assert (verdict["decision"], verdict["opponent"], verdict["production"]) == ("keep", 1, 1)
    (failed,) = (check for check in verdict["checks"] if check["name"] == "accuracy")
    assert not failed["passed"]
    assert failed["demanded"] == "at least 1"
    assert "FAILED  accuracy is " in after_digits.run("why", "digits-cnn").stdout

    again = after_digits.run("run", *REFUSED, "--json")
    assert again.code == 3
    assert "nothing to do" in again.stderr
    assert after_digits.registered() == {"digits-cnn": [1, 2]}

    by_hand = after_digits.run("promote", "digits-cnn", "2")
    assert by_hand.code == 3
    assert "verdict on digits-cnn version 2 is keep" in by_hand.complaint[0]
    assert after_digits.run("promote", "digits-cnn", "2", "--force").code == 2  # no reason given
    assert after_digits.production("digits-cnn") == 1

    forced = after_digits.done("promote", "digits-cnn", "2", "--force", "--reason", "wanted")
    assert forced == {"model": "digits-cnn", "from": 1, "production": 2, "moved": True}
    assert after_digits.done("history", "digits-cnn")["moves"][0]["forced"] is True
    assert after_digits.run("run", *REFUSED).code == 0  # overruled: it is production now

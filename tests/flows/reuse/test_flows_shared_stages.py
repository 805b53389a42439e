"""Two configs with the same training that run at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipelines.workspaces import Background, Workspace

CHANGES = ["--json"]
for _change in (
    "train.epochs=8",
    "train.batch_size=128",
    "train.checkpoint_seconds=0.05",
    "model.hidden=8",
    "evaluate.resamples=100",
    "gate.max_regression=0.9",
    "gate.minimums.accuracy=0.1",
):
    CHANGES += ["--set", _change]


@pytest.mark.slow
def test_training_shared_by_two_configs_runs_once(after_digits: Workspace) -> None:
    digits = (after_digits.root / "configs" / "digits_cnn.yaml").read_text()
    other = after_digits.write_config("other", digits.replace("name: digits-cnn", "name: other"))
    with after_digits.running("run", "configs/digits_cnn.yaml", *CHANGES) as first:
        first.wait_until(after_digits.has_checkpoint)
        trainer = first.child("modelworks.training")
        trainer.suspend()
        with after_digits.running("run", other, *CHANGES) as second:
            assert f"pid {first.process.pid} on" in waiting_line(second)
            trainer.resume()
            outcomes = [first.finish(), second.finish()]
    for outcome in outcomes:
        assert outcome.code == 0, outcome.stderr
    assert [each.object["stages"]["train"] for each in outcomes] == ["ran", "cached"]
    assert after_digits.registered() == {"digits-cnn": [1, 2], "other": [1]}
    curves = [
        [(point.step, point.value) for point in after_digits.client.get_metric_history(run_id, "training/loss")]
        for run_id in (each.object["mlflow_run_id"] for each in outcomes)
    ]
    assert sorted(curves[0]) == sorted(curves[1]) != []
    state = after_digits.root / ".modelworks"
    (_, newest) = sorted((state / "stages" / "train").glob("*/events.jsonl"), key=lambda path: path.stat().st_mtime)
    events = [json.loads(line)["type"] for line in newest.read_text().splitlines()]
    assert (events.count("start"), events.count("done")) == (1, 1)
    assert list((state / "training").iterdir()) == []


def waiting_line(run: Background) -> str:
    """Return the line that a run prints when it waits for another one."""
    assert run.process.stderr is not None
    for line in run.process.stderr:
        if "waiting for its result" in line:
            return line
    raise AssertionError("it never waited")

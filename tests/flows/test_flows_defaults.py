"""A config that names source, model and gate alone trains well with what it leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv
import pytest

from modelworks.data.sources import Tweets

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.workspaces import Workspace

SHORT = """
name: own
source: {kind: table, path: sentences.csv, text: sentence, label: opinion}
model: {kind: pretrained, checkpoint: minilm}
gate: {minimums: {accuracy: 0.8}}
"""
PER_CLASS = 3500
STEPS = 60
"""An eighth of what the default three epochs come to."""


def write_sentences(path: Path) -> None:
    """Different tweets of two opinions; those that occur with both are left out."""
    columns = Tweets(kind="tweets").read(path.parent).columns
    opinions: dict[str, set[str]] = {}
    for text, label in zip(columns["text"].to_pylist(), columns["label"].to_pylist(), strict=True):
        opinions.setdefault(" ".join(text.split()), set()).add(label)
    rows = [
        {"sentence": text, "opinion": wanted}
        for wanted in ("negative", "positive")
        for text in [text for text, given in opinions.items() if given == {wanted}][:PER_CLASS]
    ]
    assert len(rows) == 2 * PER_CLASS
    pa.csv.write_csv(pa.Table.from_pylist(rows), path)


@pytest.mark.slow
def test_minilm_learns_two_classes_of_sentences_with_the_defaults(workspace: Workspace) -> None:
    write_sentences(workspace.root / "sentences.csv")
    config = workspace.write_config("own", SHORT)
    train = workspace.done("run", config, "--print-config")["train"]
    assert (train["epochs"], train["learning_rate"], train["max_steps"]) == (3, 5e-5, 0)

    summary = workspace.done("run", config, "--set", f"train.max_steps={STEPS}")

    assert sum(summary["rows"].values()) == 2 * PER_CLASS
    assert summary["metrics"]["accuracy"]["low"] > 0.8
    assert summary["baseline"]["accuracy"] < 0.55
    assert (summary["verdict"], summary["production"]) == ("promote", 1)
    steps = workspace.client.get_metric_history(summary["mlflow_run_id"], "training/loss")
    assert max(point.step for point in steps) == STEPS
    metrics = workspace.client.get_run(summary["mlflow_run_id"]).data.metrics
    # A training of less than two seconds, the interval between samples, may have none.
    assert any(name.startswith("system/cpu") for name in metrics)

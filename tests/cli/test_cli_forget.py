"""A forgotten row is in no later data version or model.

`trace` names the versions that were trained on it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet
import pytest

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"


def stored_ids(workspace: Workspace) -> list[str]:
    return pyarrow.parquet.read_table(workspace.root / "data" / "digits" / "examples.parquet")["id"].to_pylist()


def trained_ids(workspace: Workspace, version: int, folder: Path) -> set[str]:
    """Return the first 16 digits of the training row ids in a version's artifacts."""
    tags = workspace.client.get_model_version("digits-cnn", str(version))
    from mlflow.artifacts import download_artifacts

    model = Path(download_artifacts(artifact_uri=tags.source, dst_path=str(folder)))
    return {f"{each:016x}" for each in np.load(model / "artifacts" / "model" / "training_ids.npy")}


@pytest.mark.slow
def test_forgotten_row_is_missing_from_next_version_and_traced_to_old_one(
    after_digits: Workspace, tmp_path: Path
) -> None:
    first = trained_ids(after_digits, 1, tmp_path)
    row = next(each for each in stored_ids(after_digits) if each[:16] in first)
    rows = len(stored_ids(after_digits))

    result = after_digits.done("forget", row[:16], "--reason", "asked for by mail")
    assert [each["id"] for each in result["forgotten"]] == [row]
    (entry,) = json.loads((after_digits.root / "forgotten.json").read_text())["rows"]
    assert (entry["id"], entry["reason"]) == (row, "asked for by mail")
    assert entry["who"]
    assert entry["when"].endswith("+00:00")

    # The production version was trained on the row: `trace` reports an error.
    refused = after_digits.run("trace", "--row", row)
    assert (refused.code, refused.error_code) == (3, "production.forgotten-row")
    assert "digits-cnn version 1  production" in refused.stdout

    (reason,) = after_digits.done("why", DIGITS)["stages"]["ingest"]
    assert "forgotten.json changed" in reason
    summary = after_digits.done("run", DIGITS, "--set", "gate.max_regression=0.9")
    assert (summary["version"], summary["production"]) == (2, 2)
    assert row not in stored_ids(after_digits)
    assert len(stored_ids(after_digits)) < rows
    second = trained_ids(after_digits, 2, tmp_path)
    assert second == first - {row[:16]}

    assert json.loads((after_digits.root / "data" / "digits" / "dataset.json").read_text())["forgotten"] >= 1
    now = after_digits.done("trace", "--row", row)
    assert now["versions"] == [{"model": "digits-cnn", "version": 1, "production": False}]
    assert now["data"] == []
    assert now["forgotten"]["reason"] == "asked for by mail"

    # Forgetting it again changes nothing.
    before = (after_digits.root / "forgotten.json").read_bytes()
    assert after_digits.done("forget", row) == {"forgotten": [], "before": [row]}
    assert (after_digits.root / "forgotten.json").read_bytes() == before


def test_unknown_and_ambiguous_ids_are_rejected_and_nothing_is_written(after_digits: Workspace) -> None:
    row = stored_ids(after_digits)[0]
    codes = {"f" * 64: "row.unknown", "0": "row.ambiguous", "no-id": "row.not-an-id", f"{row}00": "row.not-an-id"}
    for wrong, code in codes.items():
        outcome = after_digits.run("forget", row, wrong)
        assert (outcome.code, outcome.error_code) == (2, code), (wrong, outcome.stderr)
    assert not (after_digits.root / "forgotten.json").exists()


def test_invalid_forgotten_file_stops_a_run(after_digits: Workspace) -> None:
    (after_digits.root / "forgotten.json").write_text('{"rows": [{"id": "abc", "when": "", "who": "", "reason": ""}]}')
    outcome = after_digits.run("run", DIGITS)
    assert (outcome.code, outcome.error_code) == (2, "row.not-an-id")
    assert "forgotten.json" in outcome.complaint[0]

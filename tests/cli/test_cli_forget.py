"""A forgotten row is in no later data version and no later model; what still holds it is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet

if TYPE_CHECKING:
    from conftest import Workspace

DIGITS = "configs/digits_cnn.yaml"


def stored_ids(workspace: Workspace) -> list[str]:
    return pyarrow.parquet.read_table(workspace.root / "data" / "digits" / "examples.parquet")["id"].to_pylist()


def trained_ids(workspace: Workspace, version: int, folder: Path) -> set[str]:
    """The first 16 digits of the ids in the manifest of the stored model itself."""
    tags = workspace.client.get_model_version("digits-cnn", str(version))
    from mlflow.artifacts import download_artifacts

    model = Path(download_artifacts(artifact_uri=tags.source, dst_path=str(folder)))
    return {f"{each:016x}" for each in np.load(model / "artifacts" / "model" / "training_ids.npy")}


def test_a_forgotten_row_is_missing_from_the_next_version_and_found_in_the_old_one(
    after_digits: Workspace, tmp_path: Path
) -> None:
    first = trained_ids(after_digits, 1, tmp_path)
    row = next(each for each in stored_ids(after_digits) if each[:16] in first)
    rows = len(stored_ids(after_digits))

    told = after_digits.done("forget", row[:16], "--reason", "asked for by mail")
    assert [each["id"] for each in told["forgotten"]] == [row]
    (kept,) = json.loads((after_digits.root / "forgotten.json").read_text())["rows"]
    assert (kept["id"], kept["reason"]) == (row, "asked for by mail")
    assert kept["who"]
    assert kept["when"].endswith("+00:00")

    # The one in production still holds it: that is refused, in words.
    held = after_digits.run("trace", "--row", row)
    assert held.code == 3
    assert "digits-cnn version 1  production" in held.stdout
    assert "is to be forgotten" in held.complaint[0]

    assert after_digits.done("why", DIGITS)["stages"]["ingest"] == ["the rows to be forgotten are others"]
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

    # Saying it again changes nothing.
    before = (after_digits.root / "forgotten.json").read_bytes()
    assert after_digits.done("forget", row) == {"forgotten": [], "before": [row]}
    assert (after_digits.root / "forgotten.json").read_bytes() == before


def test_ids_that_name_no_row_or_several_are_bad_input_and_nothing_is_written(after_digits: Workspace) -> None:
    row = stored_ids(after_digits)[0]
    for wrong in ("f" * 64, "0", "no-id", f"{row}00"):
        outcome = after_digits.run("forget", row, wrong)
        assert outcome.code == 2, (wrong, outcome.stderr)
    assert not (after_digits.root / "forgotten.json").exists()


def test_a_list_that_cannot_be_read_stops_a_run_instead_of_keeping_rows(after_digits: Workspace) -> None:
    (after_digits.root / "forgotten.json").write_text('{"rows": [{"id": "abc", "when": "", "who": "", "reason": ""}]}')
    outcome = after_digits.run("run", DIGITS)
    assert outcome.code == 2
    assert "forgotten.json" in outcome.complaint[0]

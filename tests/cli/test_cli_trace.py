"""`trace` shows a version's lineage, and the versions that were trained on a row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet
import pytest

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace


@pytest.fixture
def finished(served_copy: Callable[[Path], Workspace], two_versions: Path) -> Workspace:
    """Return a project with two versions of the digits; the second is production."""
    return served_copy(two_versions)


def rows(workspace: Workspace, split: int) -> list[str]:
    """Return the row ids of a split: 0 for training, 2 for test."""
    ids = pyarrow.parquet.read_table(workspace.root / "data" / "digits" / "examples.parquet")["id"].to_pylist()
    splits = np.load(workspace.stage_folder("validate") / "splits.npy")
    return [ids[row] for row in np.flatnonzero(splits == split)]


def test_lineage_is_a_tree_from_the_source_to_the_promotions(finished: Workspace) -> None:
    outcome = finished.run("trace", "digits-cnn", "1")
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    names = [line.lstrip(" │├└─").partition(":")[0] for line in lines]
    assert names[:7] == ["source", "data", "validation", "training", "evaluation", "version", "verdict"]
    assert [line.index(name) for line, name in zip(lines, names[:6], strict=False)] == [0, 3, 6, 9, 12, 15]
    tags = finished.client.get_model_version("digits-cnn", "1").tags
    assert tags["modelworks.data_version"] in lines[1]
    assert "seed 0" in lines[3]
    assert "promote" in lines[6]
    moves = [line for line in lines[7:] if "promote" in line]
    assert ["none -> version 1" in moves[0], "version 1 -> version 2" in moves[1]] == [True, True]


def test_json_output_has_the_lineage_and_the_provenance(finished: Workspace) -> None:
    found = finished.done("trace", "digits-cnn@production")
    assert (found["version"], found["production"]) == (2, True)
    making = found["making"]
    assert making["config"]["train"]["epochs"] == 5
    assert making["config"]["schedule"] == {"cron": "30 2 * * *", "timezone": "UTC"}
    assert making["seed"] == 0
    assert making["machine"]["threads"] == 1
    assert {"precision", "precision_source", "product_rates"} <= making["machine"].keys()
    assert making["data"]["pin"] == (finished.root / "data.dvc").read_text()
    assert making["data"]["remotes"] == {"local": "../.modelworks/dvc-remote"}
    assert {"torch", "numpy", "mlflow"} <= making["libraries"].keys()
    assert len(making["lock"]) == 64
    assert found["ancestry"]["name"] == "source"


def test_lineage_and_record_are_mlflow_artifacts(finished: Workspace, tmp_path: Path) -> None:
    tags = finished.client.get_model_version("digits-cnn", "1").tags
    assert len(tags["modelworks.record_digest"]) == len(tags["modelworks.training_ids_digest"]) == 64
    folder = Path(finished.client.download_artifacts(tags["modelworks.run_id"], "lineage", str(tmp_path)))
    page = (folder / "ancestry.md").read_text()
    assert "```mermaid\nflowchart TD\n" in page
    assert page.count("-->") == 4
    assert json.loads((folder / "record.json").read_text())["model"] == "digits-cnn"


def test_training_row_is_traced_to_every_version_trained_on_it(finished: Workspace) -> None:
    row = rows(finished, 0)[0]
    found = finished.done("trace", "--row", row)
    assert found["row"] == row
    assert found["versions"] == [
        {"model": "digits-cnn", "version": 1, "production": False},
        {"model": "digits-cnn", "version": 2, "production": True},
    ]
    assert finished.done("trace", "--row", row[:12])["row"] == row
    outcome = finished.run("trace", "--row", row)
    assert "2 of 2 versions" in outcome.stdout
    assert "digits-cnn version 2  production" in outcome.stdout


def test_test_row_is_traced_to_no_version(finished: Workspace) -> None:
    found = finished.done("trace", "--row", rows(finished, 2)[0])
    assert (found["versions"], found["asked"]) == ([], 2)


def test_damaged_cached_id_list_is_fetched_again_and_damaged_artifact_is_reported(finished: Workspace) -> None:
    row = rows(finished, 0)[0]
    finished.done("trace", "--row", row)
    (cached,) = (finished.root / ".modelworks" / "training_ids").iterdir()  # both were trained on the same rows
    np.save(cached, np.zeros(0, np.uint64))
    assert len(finished.done("trace", "--row", row)["versions"]) == 2
    for path in (finished.root / "mlflow").rglob("lineage/training_ids.npy"):
        np.save(path, np.zeros(0, np.uint64))
    cached.unlink()
    assert finished.run("trace", "--row", row).code == 5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "arguments.trace"),
        (("digits-cnn", "--row", "00"), "arguments.trace"),
        (("--row", "xyz"), "row.not-an-id"),
        (("--row", "f" * 64), "row.unknown"),
    ],
)
def test_wrong_arguments_are_rejected(finished: Workspace, arguments: tuple[str, ...], code: str) -> None:
    outcome = finished.run("trace", *arguments)
    assert (outcome.code, outcome.error_code) == (2, code)


def test_ambiguous_prefix_is_rejected(finished: Workspace) -> None:
    outcome = finished.run("trace", "--row", rows(finished, 0)[0][:1])
    assert (outcome.code, outcome.error_code) == (2, "row.ambiguous")

"""A version of format 1, without an objective, is promoted, served and traced."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples.artifacts import local_path

from modelworks.errors import Refused
from modelworks.evaluation import inference
from modelworks.evaluation.gate.production_baseline import score_baseline
from modelworks.files.digest import file_digest
from modelworks.project import Project
from modelworks.records import Evaluation
from modelworks.registry.packaging import integrity
from modelworks.registry.production import promotion
from modelworks.registry.tracking import tags
from modelworks.registry.verification import golden_predictions, verify_version
from modelworks.registry.verification.isolated_process import IsolatedModel
from modelworks.registry.versions import lineage_graph, provenance_record, queries
from modelworks.registry.versions.queries import Registered

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORED = Path(__file__).with_name("format_1_version.zip")
"""Package, evidence, record and tags of a version, written by commit f064f92."""


@pytest.fixture
def earlier(client: MlflowClient, begin: Callable[[], str], tmp_path: Path) -> Registered:
    """The version, uploaded to a store."""
    with zipfile.ZipFile(STORED) as archive:
        archive.extractall(tmp_path / "stored")
    run_id = begin()
    for folder in ("model", "package", "lineage"):
        client.log_artifacts(run_id, str(tmp_path / "stored" / folder), folder)
    stored = json.loads((tmp_path / "stored" / "tags.json").read_text())
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    client.create_registered_model("small")
    client.create_model_version("small", source, run_id, tags={**stored, tags.RUN: run_id})
    return queries.get(client, "small", 1)


def promote(client: MlflowClient, project: Project, isolated_model: IsolatedModel) -> dict[str, Any]:
    """Promote the version with newer libraries than it was registered with."""
    found: dict[str, Any] = {}

    def prove(client: MlflowClient, version: Registered) -> dict[str, Any]:
        found.update(verify_version.prove(client, version, isolated_model, other_libraries=True))
        return found

    promotion.promote(client, project, "small", 1, expected=0, reason="r", who="w", evidence={}, proof=prove)
    return found


def test_format_1_version_is_promoted(
    client: MlflowClient, project: Project, earlier: Registered, isolated_model: IsolatedModel
) -> None:
    assert (earlier.decision, earlier.verdict["checks"][0]["required"]) == ("promote", "at least 0.9")
    found = promote(client, project, isolated_model)
    assert queries.production(client, "small") == 1
    assert found["probe_rows"] == golden_predictions.ROWS
    assert found["largest_difference"] <= golden_predictions.TOLERANCE


def test_format_1_version_with_other_predictions_is_refused(
    client: MlflowClient, project: Project, earlier: Registered, isolated_model: IsolatedModel
) -> None:
    artifacts = local_path(client.get_run(earlier.run_id).info.artifact_uri)
    path = artifacts / integrity.EVIDENCE / golden_predictions.FILE
    rows = pq.read_table(path)
    swapped = [
        [(label, value) for (label, _), (_, value) in zip(row, row[::-1], strict=True)]
        for row in rows["probabilities"].to_pylist()
    ]
    field = rows.schema.field("probabilities")
    pq.write_table(rows.set_column(rows.schema.names.index(field.name), field, pa.array(swapped, field.type)), path)
    client.set_model_version_tag("small", "1", tags.GOLDEN, file_digest(path))
    with pytest.raises(Refused) as caught:
        promote(client, project, isolated_model)
    assert caught.value.code == "version.other-predictions"


def test_format_1_version_is_served(client: MlflowClient, project: Project, earlier: Registered) -> None:
    from starlette.testclient import TestClient

    from modelworks.registry.packaging.scoring_app import make_app

    package = verify_version.package_folder(client, project, "small", 1)
    golden = package.parent / integrity.EVIDENCE / golden_predictions.FILE
    row = pq.read_table(golden).to_pylist()[0]
    expected = dict(row["probabilities"])
    body = {"inputs": [base64.b64encode(row["content"]).decode()], "params": {"top_k": 3}}
    (answer,) = TestClient(make_app(package)).post("/invocations", json=body).json()["predictions"]
    assert answer["label"] == max(expected, key=expected.__getitem__)
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_lineage_of_a_format_1_version_is_read(client: MlflowClient, earlier: Registered) -> None:
    recorded = provenance_record.read(client, earlier)
    steps = {step.name: step.facts for step in lineage_graph.provenance_steps(recorded.evaluation, recorded.provenance)}
    assert "60 rows, label of 3 classes" in steps["data"]
    assert steps["validation"][0] == "1 of 1 checks passed"


def test_candidate_is_compared_with_a_format_1_version(
    client: MlflowClient, project: Project, earlier: Registered, evaluate: Callable[..., Evaluation], tmp_path: Path
) -> None:
    saved = verify_version.model_folder(client, project, "small", earlier.version)
    found = score_baseline(earlier.version, saved, evaluate(seed=1))
    assert (found.incomparable, found.trained_on) == ("", ())
    recorded = inference.read(tmp_path / "stored" / "lineage")
    assert found.predicted["probabilities"] == pytest.approx(recorded.predicted["probabilities"], abs=1e-5)

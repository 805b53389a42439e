"""Upload an evaluated model: its package, file listing and golden predictions."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.fault_injection import effect
from modelworks.files.atomic_files import write_json
from modelworks.files.digest import folder_digests, json_digest
from modelworks.files.manifests import Listed
from modelworks.models.serialization import read_objective
from modelworks.registry.backend.error_mapping import is_remote, maps_tracking_errors
from modelworks.registry.packaging import build, integrity, signing
from modelworks.registry.packaging.allowed_layout import check_form, check_names
from modelworks.registry.packaging.integrity import EVIDENCE, FILES
from modelworks.registry.verification import golden_predictions
from modelworks.settings import signing_keys

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.records import Evaluation

__all__ = ["Package", "log"]


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package in the tracking store."""

    model_id: str
    source: str
    """The source URI for the model version."""
    digest: str
    """SHA-256 of its file listing."""
    golden: str
    """SHA-256 of its golden predictions."""


@maps_tracking_errors
def log(client: MlflowClient, run_id: str, evaluation: Evaluation) -> Package:
    """Upload the evaluated model to a run, with its file listing and golden predictions.

    Raises:
        Corrupt: the saved model or its evaluation data are damaged.
        Unavailable: the store does not answer, or did not store the upload correctly.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    run, kind = client.get_run(run_id), read_objective(evaluation.trained.model_folder).kind
    # The model is pending until it is complete; `close_stale_runs` deletes it if this process dies before.
    with effect("package.create"):
        model = client.create_logged_model(
            run.info.experiment_id, name="model", source_run_id=run_id, params=run.data.params, model_type=kind
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"  # next to the evidence, as after fetching: both are signed
        # A signed folder cannot have symbolic links.
        build.write(folder, evaluation.trained.model_folder, model.model_id, run_id, copy_weights=bool(signing_keys()))
        # The saved model's manifest has the digests of its files.
        files = folder_digests(folder, Listed(build.saved_model(folder).parent).digest)
        check_names(files)
        check_form(folder)
        evidence = Path(name) / EVIDENCE
        evidence.mkdir()
        write_json(evidence / FILES, files)
        golden = folder_digests(golden_predictions.write(evaluation, evidence).parent)[golden_predictions.FILE][
            "sha256"
        ]
        signing.sign(Path(name), evidence / signing.FILE)
        with effect("package.upload", "evidence"):
            client.log_artifacts(run_id, str(evidence), EVIDENCE)
        integrity.check_uploaded(client, f"{run.info.artifact_uri}/{EVIDENCE}", folder_digests(evidence))
        with effect("package.upload", "model"):
            client.log_model_artifacts(model.model_id, str(folder))
        integrity.check_uploaded(client, model.artifact_location, files)
    with effect("package.finalise"):
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    _log_metrics(client, run_id, model.model_id, evaluation)
    # A server needs the model's id; for an embedded store MLflow would search the id at the global tracking URI.
    source = f"models:/{model.model_id}" if is_remote(client.tracking_uri) else model.artifact_location
    return Package(model_id=model.model_id, source=source, digest=json_digest(files), golden=golden)


def _log_metrics(client: MlflowClient, run_id: str, model_id: str, evaluation: Evaluation) -> None:
    """Log the evaluation's metrics to the model too."""
    from mlflow.entities import Metric

    dataset, now = evaluation.trained.report.dataset, int(time.time() * 1000)
    metrics = []
    for name, value in evaluation.metrics.items():
        # With the timestamp that the run has already, or the run would show a second point.
        known = client.get_metric_history(run_id, name)
        when = known[-1].timestamp if known else now
        metrics.append(
            Metric(
                name, value.value, when, 0, model_id=model_id, dataset_name=dataset.name, dataset_digest=dataset.digest
            )
        )
    client.log_batch(run_id, metrics=metrics)

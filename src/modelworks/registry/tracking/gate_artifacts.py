"""Log and read the details of a verdict: an HTML page and JSON on the run of its version."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks import record_json
from modelworks.fault_injection import effect
from modelworks.registry.backend.error_mapping import is_outage, maps_tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = ["details", "log"]

FOLDER, JSON = "verdict", "verdict.json"


@maps_tracking_errors
def log(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Upload the files of a verdict's report to a run, replacing those of an earlier verdict."""
    with effect("verdicts.upload"):
        client.log_artifacts(run_id, str(folder), FOLDER)


@maps_tracking_errors
def details(client: MlflowClient, version: Registered) -> dict[str, Any] | None:
    """Return the logged details of a version's verdict; None if there are none for this verdict.

    The files are uploaded before the verdict is tagged, so after a crash they may belong to another verdict.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = json.loads(Path(client.download_artifacts(version.run_id, f"{FOLDER}/{JSON}", folder)).read_text())
        except (MlflowException, OSError) as error:
            if is_outage(error, client.tracking_uri):
                raise
            return None
    assert isinstance(found, dict)
    logged = record_json.verdict(found)
    same = (logged["gate_key"], logged["baseline"]) == (version.gate_key, version.verdict["baseline"])
    return logged if same else None

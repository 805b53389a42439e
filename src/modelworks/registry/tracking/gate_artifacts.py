"""What a verdict was found from, kept with the run that registered the version: a page for people, JSON for programs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks import record_json
from modelworks.fault_injection import effect
from modelworks.registry.backend.error_mapping import is_outage, said_clearly

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = ["details", "log"]

FOLDER, JSON = "verdict", "verdict.json"


@said_clearly
def log(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Put the files of a verdict's report onto a run, in place of those of an earlier verdict."""
    with effect("verdicts.upload"):
        client.log_artifacts(run_id, str(folder), FOLDER)


@said_clearly
def details(client: MlflowClient, version: Registered) -> dict[str, Any] | None:
    """What was logged with the verdict that a version bears; None when nothing was, or with another verdict.

    The files come before the verdict itself, so after a crash they may be those of one that was never given.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as aside:
        try:
            found = json.loads(Path(client.download_artifacts(version.run_id, f"{FOLDER}/{JSON}", aside)).read_text())
        except (MlflowException, OSError) as error:
            if is_outage(error, client.tracking_uri):
                raise
            return None
    assert isinstance(found, dict)
    same = (found["gate_key"], found["opponent"]) == (version.gate_key, version.verdict["opponent"])
    return record_json.verdict(found) if same else None

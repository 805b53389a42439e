"""Store the provenance record of a version on its run, and its digest in a tag.

    lineage/record.json            the provenance (see provenance.py) and the records of all stages up to the evaluation
    lineage/code.patch             uncommitted changes of the code
    lineage/training_ids.npy       first 8 bytes of each training row's id, sorted
    lineage/predictions.parquet    predictions of the test rows
    lineage/ancestry.md            the lineage as a Mermaid graph, for people

record.json has the digests of patch, ids and predictions, so that one tag covers all of them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Corrupt
from modelworks.fault_injection import effect
from modelworks.files.atomic_files import write_json
from modelworks.files.digest import file_digest, folder_digests
from modelworks.provenance import Provenance
from modelworks.record_json import from_json, to_json
from modelworks.registry.backend.error_mapping import is_outage, maps_tracking_errors
from modelworks.registry.tracking import tags as lineage
from modelworks.registry.versions import lineage_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.records import Evaluation
    from modelworks.registry.versions.queries import Registered

__all__ = [
    "FOLDER",
    "PATCH",
    "PREDICTIONS",
    "RECORD",
    "TRAINING_IDS",
    "Recorded",
    "read",
    "read_all",
    "read_ids",
    "store",
]

FOLDER = "lineage"
RECORD = "record.json"
PATCH = "code.patch"
TRAINING_IDS = "training_ids.npy"
PREDICTIONS = "predictions.parquet"
HINT = "restore the artifact store from a backup"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The verified record of a version."""

    provenance: Provenance
    evaluation: Mapping[str, Any]
    """The records of the stages, as JSON."""
    files: Mapping[str, Mapping[str, Any]]
    """Size and SHA-256 of the other files."""


@maps_tracking_errors
def store(
    client: MlflowClient, project: Project, evaluation: Evaluation, provenance: Provenance, *, name: str, run_id: str
) -> dict[str, str]:
    """Upload the record of a new version to a run; return the tags with its digests."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / FOLDER
        folder.mkdir()
        patch = provenance.code.patch.encode(errors="surrogateescape")
        if patch:
            (folder / PATCH).write_bytes(patch)
        shutil.copyfile(evaluation.trained.model_folder / TRAINING_IDS, folder / TRAINING_IDS)
        shutil.copyfile(evaluation.folder / PREDICTIONS, folder / PREDICTIONS)
        files = folder_digests(folder)
        digest = files[PATCH]["sha256"] if patch else ""
        stages = to_json(evaluation, project.root)
        stored = to_json(replace(provenance, code=replace(provenance.code, patch=digest)), project.root)
        write_json(folder / RECORD, {"model": name, "making": stored, "evaluation": stages, "files": files})
        (folder / "ancestry.md").write_text(lineage_graph.page(lineage_graph.provenance_steps(stages, provenance)))
        tags = lineage.record_tags(
            provenance.code.commit,
            changed=bool(patch or provenance.code.missing),
            record=file_digest(folder / RECORD),
            training_ids=files[TRAINING_IDS]["sha256"],
        )
        with effect("record.upload"):
            client.log_artifacts(run_id, str(folder), FOLDER)
    return tags


@maps_tracking_errors
def read(client: MlflowClient, version: Registered) -> Recorded:
    """Return the record of a version, without the other files.

    Raises:
        BadInput: the version has none.
        Corrupt: it differs from what was registered.
    """
    with tempfile.TemporaryDirectory() as temporary:
        return _parse(_download(client, version, RECORD, Path(temporary)), version)


@maps_tracking_errors
def read_all(client: MlflowClient, version: Registered, folder: Path) -> Recorded:
    """Return the record of a version with its patch; download the other files into a folder.

    Raises:
        BadInput, Corrupt: as in `read`.
    """
    found = _parse(_download(client, version, RECORD, folder), version)
    for name, expected in found.files.items():
        if file_digest(_download(client, version, name, folder)) != expected["sha256"]:
            raise Corrupt(
                f"{name} of {_named(version)} does not match its digest in the record",
                HINT,
                code="version.record-damaged",
            )
    if PATCH not in found.files:
        return found
    patch = (folder / PATCH).read_bytes().decode(errors="surrogateescape")
    return replace(found, provenance=replace(found.provenance, code=replace(found.provenance.code, patch=patch)))


@maps_tracking_errors
def read_ids(client: MlflowClient, version: Registered, folder: Path) -> Path:
    """Download the ids of a version's training rows into a folder; return the file.

    Raises:
        BadInput: the version has none.
        Corrupt: the file differs from what was registered.
    """
    path = _download(client, version, TRAINING_IDS, folder)
    if file_digest(path) != version.tags.get(lineage.TRAINING_IDS):
        raise Corrupt(
            f"the training ids of {_named(version)} differ from what was registered",
            HINT,
            code="version.record-damaged",
        )
    return path


def _parse(path: Path, version: Registered) -> Recorded:
    if file_digest(path) != version.tags[lineage.RECORD]:
        raise Corrupt(
            f"{RECORD}, the record of {_named(version)}, differs from what was registered",
            HINT,
            code="version.record-damaged",
        )
    values = json.loads(path.read_text(encoding="utf-8"))
    return Recorded(
        provenance=from_json(Provenance, values["making"], Path()),
        evaluation=values["evaluation"],
        files=values["files"],
    )


def _download(client: MlflowClient, version: Registered, name: str, folder: Path) -> Path:
    from mlflow.exceptions import MlflowException

    if lineage.RECORD not in version.tags or not version.run_id:
        raise BadInput(
            f"{_named(version)} has no provenance record: modelworks did not register it, or an early release did",
            "run its config again: new versions have a record",
            code="version.no-record",
        )
    try:
        return Path(client.download_artifacts(version.run_id, f"{FOLDER}/{name}", str(folder)))
    except (MlflowException, FileNotFoundError) as error:
        if is_outage(error, client.tracking_uri):
            raise
        raise Corrupt(
            f"{name} of {_named(version)} cannot be fetched: {error}", HINT, code="version.record-unavailable"
        ) from error


def _named(version: Registered) -> str:
    return f"{version.name} version {version.version}"

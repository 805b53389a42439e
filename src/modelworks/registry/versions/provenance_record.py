"""The record of a version: how it was made, kept with its run; the record's digest is a tag of the version.

    lineage/record.json            the making (see provenance.py), and the records of every stage down to the evaluation
    lineage/code.patch             what was changed in the code since its commit
    lineage/training_ids.npy       first 8 bytes of each training row's id, sorted
    lineage/predictions.parquet    what the model said of the test rows
    lineage/ancestry.md            for people: the ancestry as a Mermaid graph

record.json holds the digests of the other three, so that the one tag vouches for all of them.
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
from modelworks.registry.backend.error_mapping import is_outage, said_clearly
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
WAY_OUT = "restore the artifact store from a backup"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What was read of a version's record, and verified."""

    making: Provenance
    evaluation: Mapping[str, Any]
    """The records of the stages, as JSON."""
    files: Mapping[str, Mapping[str, Any]]
    """Size and SHA-256 of the files beside record.json."""


@said_clearly
def store(
    client: MlflowClient, project: Project, evaluation: Evaluation, making: Provenance, *, name: str, run_id: str
) -> dict[str, str]:
    """Keep the record of a version that is about to be made under a run; returns the tags that vouch for it."""
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) / FOLDER
        folder.mkdir()
        patch = making.code.patch.encode(errors="surrogateescape")
        if patch:
            (folder / PATCH).write_bytes(patch)
        shutil.copyfile(evaluation.trained.model_folder / TRAINING_IDS, folder / TRAINING_IDS)
        shutil.copyfile(evaluation.folder / PREDICTIONS, folder / PREDICTIONS)
        files = folder_digests(folder)
        digest = files[PATCH]["sha256"] if patch else ""
        stages = to_json(evaluation, project.root)
        kept = to_json(replace(making, code=replace(making.code, patch=digest)), project.root)
        write_json(folder / RECORD, {"model": name, "making": kept, "evaluation": stages, "files": files})
        (folder / "ancestry.md").write_text(lineage_graph.page(lineage_graph.made(stages, making)))
        tags = lineage.record_tags(
            making.code.commit,
            changed=bool(patch or making.code.missing),
            record=file_digest(folder / RECORD),
            training_ids=files[TRAINING_IDS]["sha256"],
        )
        with effect("record.upload"):
            client.log_artifacts(run_id, str(folder), FOLDER)
    return tags


@said_clearly
def read(client: MlflowClient, version: Registered) -> Recorded:
    """The record of a version, without what lies beside it.

    Raises:
        BadInput: it has none.
        Corrupt: it is not what the version was registered with.
    """
    with tempfile.TemporaryDirectory() as aside:
        return _parse(_download(client, version, RECORD, Path(aside)), version)


@said_clearly
def read_all(client: MlflowClient, version: Registered, folder: Path) -> Recorded:
    """The record of a version, its patch included; the files beside it are put into a folder.

    Raises:
        BadInput, Corrupt: as `read`.
    """
    found = _parse(_download(client, version, RECORD, folder), version)
    for name, expected in found.files.items():
        if file_digest(_download(client, version, name, folder)) != expected["sha256"]:
            raise Corrupt(
                f"{name} of {_named(version)} is not what its record names", WAY_OUT, code="version.record-damaged"
            )
    if PATCH not in found.files:
        return found
    patch = (folder / PATCH).read_bytes().decode(errors="surrogateescape")
    return replace(found, making=replace(found.making, code=replace(found.making.code, patch=patch)))


@said_clearly
def read_ids(client: MlflowClient, version: Registered, folder: Path) -> Path:
    """The file with the ids of a version's training rows, put into a folder.

    Raises:
        BadInput: the version has none.
        Corrupt: it is not what the version was registered with.
    """
    path = _download(client, version, TRAINING_IDS, folder)
    if file_digest(path) != version.tags.get(lineage.TRAINING_IDS):
        raise Corrupt(
            f"the training ids of {_named(version)} are not those it was registered with",
            WAY_OUT,
            code="version.record-damaged",
        )
    return path


def _parse(path: Path, version: Registered) -> Recorded:
    if file_digest(path) != version.tags[lineage.RECORD]:
        raise Corrupt(
            f"{RECORD}, the record of {_named(version)}, is not the one it was registered with",
            WAY_OUT,
            code="version.record-damaged",
        )
    values = json.loads(path.read_text(encoding="utf-8"))
    return Recorded(
        making=from_json(Provenance, values["making"], Path()), evaluation=values["evaluation"], files=values["files"]
    )


def _download(client: MlflowClient, version: Registered, name: str, folder: Path) -> Path:
    from mlflow.exceptions import MlflowException

    if lineage.RECORD not in version.tags or not version.run_id:
        raise BadInput(
            f"{_named(version)} has no record of its making: modelworks did not register it, or an early release did",
            "run its config again: new versions have one",
            code="version.no-record",
        )
    try:
        return Path(client.download_artifacts(version.run_id, f"{FOLDER}/{name}", str(folder)))
    except (MlflowException, FileNotFoundError) as error:
        if is_outage(error, client.tracking_uri):
            raise
        raise Corrupt(
            f"{name} of {_named(version)} cannot be fetched: {error}", WAY_OUT, code="version.record-unavailable"
        ) from error


def _named(version: Registered) -> str:
    return f"{version.name} version {version.version}"

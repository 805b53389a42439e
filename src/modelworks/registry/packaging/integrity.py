"""Compare stored and fetched packages with their file listing."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from modelworks.errors import Corrupt, Unavailable
from modelworks.files.digest import folder_digests, json_digest
from modelworks.registry.backend.mlflow_internals import LOAD_NOTE, LOAD_NOTE_KEYS
from modelworks.registry.packaging.allowed_layout import check_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

__all__ = [
    "EVIDENCE",
    "FILES",
    "RESTORE_HINT",
    "check_evidence_sizes",
    "check_folder",
    "check_listing",
    "check_stored",
    "check_uploaded",
    "read_listing",
    "remove_load_note",
    "verify",
]

EVIDENCE = "package"
"""Artifact folder of the run: `files.json` (size and SHA-256 of each package file) and golden predictions."""
FILES = "files.json"
RESTORE_HINT = "restore the artifact store from a backup, or promote another version"
LARGEST_LOAD_NOTE = 2**14
"""Maximum bytes of that file, which has two keys."""
LARGEST_EVIDENCE = 2**28
"""Maximum bytes of a file of evidence: a few test rows, a listing, a signature."""


def read_listing(path: Path) -> dict[str, Any]:
    """Return the listing that `upload.log` stored.

    Raises:
        Corrupt: it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise Corrupt(
            f"{path.name}, the listing of the package's files, cannot be read: {error}",
            RESTORE_HINT,
            code="package.damaged",
        ) from error


def check_listing(listing: Mapping[str, Any], digest: str) -> None:
    """Compare a listing with the digest in the version's tag, and check its names.

    Raises:
        Corrupt: the listing differs from the registered one.
    """
    if json_digest(listing) != digest:
        raise Corrupt(
            f"{FILES}, the package's listing, is not the one the version was registered with",
            RESTORE_HINT,
            code="package.damaged",
        )
    check_names(listing)


def check_evidence_sizes(client: MlflowClient, run_id: str) -> None:
    """Reject oversized evidence before it is fetched.

    Raises:
        Corrupt: a file is too large.
    """
    for each in client.list_artifacts(run_id, EVIDENCE):
        if (each.file_size or 0) > LARGEST_EVIDENCE:
            raise Corrupt(
                f"{each.path} is too large for a file of the version's evidence", RESTORE_HINT, code="package.damaged"
            )


def check_stored(client: MlflowClient, address: str, listing: Mapping[str, Any]) -> None:
    """Compare names and sizes in the artifact store with a listing before fetching.

    A load note of MLflow is allowed if it is small.

    Raises:
        Corrupt: a file has another size, is missing or is not listed.
    """
    from mlflow.artifacts import list_artifacts

    found: dict[str, int | None] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        for each in list_artifacts(artifact_uri=address + folder, tracking_uri=client.tracking_uri):
            # Its path begins at the parent of the listed folder, or at the folder itself, by the kind of store.
            path = f"{folder}/{PurePosixPath(each.path).name}"
            name = path.removeprefix("/")
            if not each.is_dir:
                found[name] = each.file_size
            elif any(listed.startswith(f"{name}/") for listed in listing):
                folders.append(path)
            else:
                raise Corrupt(
                    f"the package differs from what was registered: {name} is not in its listing",
                    RESTORE_HINT,
                    code="package.damaged",
                )
    _compare_sizes(found, listing)


def check_folder(folder: Path, listing: Mapping[str, Any]) -> None:
    """Compare names and sizes of files in a local artifact store with a listing.

    Raises:
        Corrupt: as in `check_stored`, or the folder is missing.
    """
    if not folder.is_dir():
        raise Corrupt(f"the package is missing: {folder} does not exist", RESTORE_HINT, code="package.damaged")
    try:
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    except OSError as error:
        raise Corrupt(f"the package cannot be read: {error}", RESTORE_HINT, code="package.damaged") from error
    _compare_sizes(dict(found), listing)


def check_uploaded(client: MlflowClient, address: str, sent: Mapping[str, Any]) -> None:
    """Compare uploaded files with what the artifact store has.

    For a store on this machine names and sizes are compared, because each write was confirmed and a promotion reads
    every byte. From any other store every byte is fetched and compared.

    Args:
        client: of the store.
        address: URI of the folder in the store.
        sent: the listing of the uploaded folder.

    Raises:
        Unavailable: the store lost or changed a file; a retry may help.
    """
    from mlflow.artifacts import download_artifacts

    try:
        if "://" not in address or address.startswith("file://"):
            check_stored(client, address, sent)
            return
        with tempfile.TemporaryDirectory() as folder:
            stored = Path(download_artifacts(artifact_uri=address, dst_path=folder, tracking_uri=client.tracking_uri))
            found = folder_digests(stored)
            _compare({name: found[name] for name in sent if name in found}, sent)
    except Corrupt as error:
        raise Unavailable(
            f"{client.tracking_uri} did not store the upload correctly: {error.message}",
            "run again: it is uploaded again",
            code="mlflow.artifact-lost",
        ) from error


def remove_load_note(folder: Path) -> None:
    """Delete MLflow's load note from a fetched package.

    Raises:
        Corrupt: the content is not what MLflow writes.
    """
    path = folder / LOAD_NOTE
    if path.is_dir() or not os.path.lexists(path):  # `verify` rejects a folder
        return
    if not _is_load_note(path):
        raise Corrupt(
            f"the package differs from what was registered: {LOAD_NOTE} is not the file that MLflow writes",
            RESTORE_HINT,
            code="package.damaged",
        )
    path.unlink()


def verify(folder: Path, digest: str, listing: Mapping[str, Any]) -> None:
    """Compare a fetched package with its listing, and the listing with the version's digest.

    Call it before MLflow reads the package: a compiled file or another serving file would run before a check in the
    package could.

    Raises:
        Corrupt: a file differs, is missing or is not listed.
    """
    check_listing(listing, digest)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise Corrupt(f"the package has a symbolic link: {name}", RESTORE_HINT, code="package.damaged")
        if not path.is_dir() and path.stat().st_nlink > 1:
            raise Corrupt(f"the package has a hard link: {name}", RESTORE_HINT, code="package.damaged")
        if not path.is_dir() and not path.is_file():
            raise Corrupt(f"the package has a special file: {name}", RESTORE_HINT, code="package.damaged")
    _compare(folder_digests(folder), listing)


def _is_load_note(path: Path) -> bool:
    """Return whether a file has only MLflow's two keys with plain values, or is empty."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_LOAD_NOTE:
        return False
    try:
        noted = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError, OSError):
        return False
    if noted is None:
        return True
    return (
        isinstance(noted, dict)
        and noted.keys() == LOAD_NOTE_KEYS
        and all(value is None or isinstance(value, str | int) for value in noted.values())
    )


def _compare_sizes(found: Mapping[str, int | None], listing: Mapping[str, Any]) -> None:
    """Compare sizes; a store may give none (None), and then only the digests are compared later."""
    note = found.get(LOAD_NOTE) or 0
    stored = {name: size for name, size in found.items() if name != LOAD_NOTE or note > LARGEST_LOAD_NOTE}
    expected = {name: value["size"] for name, value in listing.items()}
    _compare({name: expected.get(name, 0) if size is None else size for name, size in stored.items()}, expected)


def _compare(found: Mapping[str, Any], listing: Mapping[str, Any]) -> None:
    for name in sorted({*found, *listing}):
        if found.get(name) != listing.get(name):
            fault = (
                "is missing" if name not in found else "is not in its listing" if name not in listing else "was changed"
            )
            raise Corrupt(
                f"the package differs from what was registered: {name} {fault}", RESTORE_HINT, code="package.damaged"
            )

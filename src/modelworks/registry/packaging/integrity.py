"""What a package consists of: its listing, and whether what lies in the store, or was fetched, is that."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import Corrupt, Unavailable
from modelworks.files.digest import folder_digests, json_digest
from modelworks.registry.packaging.allowed_layout import check_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

__all__ = [
    "EVIDENCE",
    "FILES",
    "LOAD_NOTE",
    "WAY_OUT",
    "check_evidence_sizes",
    "check_folder",
    "check_kept",
    "check_listing",
    "check_stored",
    "read_listing",
    "remove_load_note",
    "verify",
]

EVIDENCE = "package"
"""Folder of the run's artifacts: `files.json` (size and SHA-256 of each file of the package) and the probe."""
FILES = "files.json"
WAY_OUT = "restore the artifact store from a backup, or promote another version"
LOAD_NOTE = "registered_model_meta"
"""MLflow writes this file beside the MLmodel of what it loads by a models:/ address, inside a local artifact store too.

Nothing reads it. It is never part of a package: `remove_load_note` deletes it from what was fetched.
"""
LOAD_NOTE_KEYS = frozenset({"model_name", "model_version"})
LARGEST_LOAD_NOTE = 2**14
"""Bytes of that file: two keys, and the name of a registered model."""
LARGEST_EVIDENCE = 2**28
"""Bytes of a file of evidence: a few test rows, a listing, a signature."""


def read_listing(path: Path) -> dict[str, Any]:
    """The listing that `log` kept.

    Raises:
        Corrupt: it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise Corrupt(
            f"{path.name}, the listing of the package's files, cannot be read: {error}", WAY_OUT, code="package.damaged"
        ) from error


def check_listing(listing: Mapping[str, Any], digest: str) -> None:
    """Compare a listing with the digest in the version's tag, and refuse names that no package has.

    Raises:
        Corrupt: it is not the one that the version was registered with.
    """
    if json_digest(listing) != digest:
        raise Corrupt(
            f"{FILES}, the package's listing, is not the one the version was registered with",
            WAY_OUT,
            code="package.damaged",
        )
    check_names(listing)


def check_evidence_sizes(client: MlflowClient, run_id: str) -> None:
    """Refuse evidence that is too large to be any: before it is fetched.

    Raises:
        Corrupt: it is.
    """
    for each in client.list_artifacts(run_id, EVIDENCE):
        if (each.file_size or 0) > LARGEST_EVIDENCE:
            raise Corrupt(
                f"{each.path} is larger than any evidence that was kept with a version", WAY_OUT, code="package.damaged"
            )


def check_stored(client: MlflowClient, address: str, listing: Mapping[str, Any]) -> None:
    """Compare names and sizes of what lies in the artifact store with a listing: before anything is fetched.

    MLflow's own note of a load may lie there as well, if its size is that of a note.

    Raises:
        Corrupt: a file has another size, is missing, or is one too many.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = get_artifact_repository(address, tracking_uri=client.tracking_uri)
    found: dict[str, int | None] = {}
    folders = [""]
    while folders:
        for each in store.list_artifacts(folders.pop() or None):
            if not each.is_dir:
                found[each.path] = each.file_size
            elif any(name.startswith(f"{each.path}/") for name in listing):
                folders.append(each.path)
            else:
                raise Corrupt(
                    f"the package is not what was registered: {each.path} was never part of it",
                    WAY_OUT,
                    code="package.damaged",
                )
    _compare_sizes(found, listing)


def check_folder(folder: Path, listing: Mapping[str, Any]) -> None:
    """Compare names and sizes of the files below a folder of a local artifact store with a listing.

    Raises:
        Corrupt: as `check_stored`, or the folder is missing.
    """
    if not folder.is_dir():
        raise Corrupt(f"the package is not there: {folder} does not exist", WAY_OUT, code="package.damaged")
    try:
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    except OSError as error:
        raise Corrupt(f"the package cannot be read: {error}", WAY_OUT, code="package.damaged") from error
    _compare_sizes(dict(found), listing)


def check_kept(client: MlflowClient, address: str, sent: Mapping[str, Any]) -> None:
    """Compare what was sent to the artifact store with what lies there now.

    Of a store in this machine's files names and sizes are compared: the system has said of each write that it was done,
    and a promotion reads every byte. Of any other store every byte is fetched and compared.

    Args:
        client: of the store.
        address: of the folder there.
        sent: the listing of the folder that was sent.

    Raises:
        Unavailable: it is not what was sent; sent again, it may be.
    """
    from mlflow.artifacts import download_artifacts

    try:
        if "://" not in address or address.startswith("file://"):
            check_stored(client, address, sent)
            return
        with tempfile.TemporaryDirectory() as aside:
            kept = Path(download_artifacts(artifact_uri=address, dst_path=aside, tracking_uri=client.tracking_uri))
            found = folder_digests(kept)
            _compare({name: found[name] for name in sent if name in found}, sent)
    except Corrupt as error:
        raise Unavailable(
            f"{client.tracking_uri} did not keep what it was sent: {error.message}",
            "run again: it is sent again",
            code="mlflow.artifact-lost",
        ) from error


def remove_load_note(folder: Path) -> None:
    """Delete the note that MLflow's load left in a package, from a fetched copy of that package.

    Raises:
        Corrupt: the file of that name is not what MLflow writes.
    """
    path = folder / LOAD_NOTE
    if path.is_dir() or not os.path.lexists(path):  # a folder is refused like any other name
        return
    if not _is_load_note(path):
        raise Corrupt(
            f"the package is not what was registered: {LOAD_NOTE} is not the file that MLflow writes",
            WAY_OUT,
            code="package.damaged",
        )
    path.unlink()


def verify(folder: Path, digest: str, listing: Mapping[str, Any]) -> None:
    """Compare a fetched package with its listing, and the listing with the digest in the version's tag.

    From outside, before MLflow reads anything in it: a planted compiled file or another serving file would run
    before any check inside could.

    Raises:
        Corrupt: a file differs, is missing, or is one too many.
    """
    check_listing(listing, digest)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise Corrupt(f"the package holds a symbolic link: {name}", WAY_OUT, code="package.damaged")
        if not path.is_dir() and path.stat().st_nlink > 1:
            raise Corrupt(
                f"the package holds a hard link, a file with another name elsewhere: {name}",
                WAY_OUT,
                code="package.damaged",
            )
        if not path.is_dir() and not path.is_file():
            raise Corrupt(f"the package holds something that is no file: {name}", WAY_OUT, code="package.damaged")
    _compare(folder_digests(folder), listing)


def _is_load_note(path: Path) -> bool:
    """Whether a file holds a mapping of MLflow's two keys to plain values; a killed load leaves it empty."""
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
    """Some stores give no size (None): then only the digests of what was fetched will tell."""
    note = found.get(LOAD_NOTE) or 0
    stored = {name: size for name, size in found.items() if name != LOAD_NOTE or note > LARGEST_LOAD_NOTE}
    wanted = {name: value["size"] for name, value in listing.items()}
    _compare({name: wanted.get(name, 0) if size is None else size for name, size in stored.items()}, wanted)


def _compare(found: Mapping[str, Any], listing: Mapping[str, Any]) -> None:
    for name in sorted({*found, *listing}):
        if found.get(name) != listing.get(name):
            fault = (
                "is missing" if name not in found else "was never part of it" if name not in listing else "was changed"
            )
            raise Corrupt(f"the package is not what was registered: {name} {fault}", WAY_OUT, code="package.damaged")

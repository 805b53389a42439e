"""Fetch a registered version, compare its bytes and verify its predictions."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import Corrupt, Refused
from modelworks.fault_injection import effect
from modelworks.files.atomic_files import disk_errors
from modelworks.files.digest import file_digest
from modelworks.files.locks import locked
from modelworks.registry.backend.error_mapping import is_outage, maps_tracking_errors
from modelworks.registry.packaging import build, integrity, signing
from modelworks.registry.packaging.allowed_layout import check_form
from modelworks.registry.packaging.signing import require_signature
from modelworks.registry.tracking import tags
from modelworks.registry.verification import golden_predictions, library_versions
from modelworks.registry.verification.isolated_process import IsolatedModel
from modelworks.registry.versions import queries
from modelworks.settings import signing_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.registry.versions.queries import Registered

__all__ = ["OTHER_LIBRARIES", "check_listed", "fetch", "model_folder", "package_folder", "prove"]

OTHER_LIBRARIES = "other_libraries"
"""Key of the evidence: differences between the installed libraries and those of the evaluation."""
MODEL = "model"
"""Folder of the package in a fetched version, next to the evidence."""


@maps_tracking_errors
def prove(
    client: MlflowClient, version: Registered, process: IsolatedModel | None = None, *, other_libraries: bool = False
) -> dict[str, Any]:
    """Fetch a version, compare every byte, and verify its predictions; return the evidence.

    Args:
        client: of the store.
        version: the version to verify.
        process: an isolated process that was started earlier.
        other_libraries: whether the installed libraries may differ from those of the evaluation.

    Raises:
        Corrupt: the package or its evidence differ from what was registered.
        Refused: the libraries differ, the model does not load, or its predictions differ.
        Unavailable: the isolated process died.
    """
    with tempfile.TemporaryDirectory() as name, _or_new(process) as isolated:
        fetched = fetch(client, version, Path(name))
        differing = library_versions.differences(isolated, fetched / MODEL)
        if differing and not other_libraries:
            raise Refused(
                f"{version.name} version {version.version} was evaluated with other libraries: {'; '.join(differing)}",
                "install those, or use --override with a --reason",
                code="version.other-libraries",
            )
        return {
            "digest": version.digest,
            **({OTHER_LIBRARIES: differing} if differing else {}),
            **({"signature": "verified"} if signing_keys() else {}),
            **golden_predictions.check(
                isolated, fetched / MODEL, fetched / integrity.EVIDENCE / golden_predictions.FILE
            ),
        }


@maps_tracking_errors
def model_folder(client: MlflowClient, project: Project, name: str, version: int) -> Path:
    """Return a local copy of a version's saved model, fetched once and verified each time.

    Raises:
        BadInput: there is no such version.
        Refused: it was not registered by modelworks.
        Corrupt: the package differs from what was registered, or is not signed although a key is set.
    """
    return build.saved_model(package_folder(client, project, name, version))


@maps_tracking_errors
def package_folder(client: MlflowClient, project: Project, name: str, version: int) -> Path:
    """Return a local copy of a version's package, the folder with the MLmodel file.

    Raises:
        BadInput, Refused, Corrupt: as in `model_folder`.
    """
    chosen = queries.get(client, name, version)
    _require_ours(chosen)
    cached = project.state / "versions" / chosen.digest
    with locked(project.locks / "versions.lock", f"fetching {name} version {version}"), disk_errors(cached):
        if not _is_intact(cached, chosen):
            shutil.rmtree(cached, ignore_errors=True)
            cached.parent.mkdir(parents=True, exist_ok=True)
            for leftover in cached.parent.glob(".fetch-*"):  # of a killed process
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cached.parent) as temporary:
                fetched = fetch(client, chosen, Path(temporary))
                with effect("proof.keep"):
                    fetched.rename(cached)
    return cached / MODEL


def _is_intact(cached: Path, version: Registered) -> bool:
    """Return whether there is an intact local copy; log a damaged one, which is fetched again."""
    if not cached.exists():
        return False
    try:
        _verify(cached, version)
    except Corrupt as error:
        logging.getLogger(__name__).warning("%s: %s: it is fetched again", cached, error.message)
        return False
    return True


def _verify(fetched: Path, version: Registered) -> None:
    """Compare everything that was fetched with the version's tags and signature.

    Raises:
        Corrupt: something differs, or the layout is not allowed.
    """
    evidence = fetched / integrity.EVIDENCE
    integrity.verify(fetched / MODEL, version.digest, integrity.read_listing(evidence / integrity.FILES))
    golden = evidence / golden_predictions.FILE
    if not golden.is_file() or file_digest(golden) != version.tags.get(tags.GOLDEN):
        label = f"{version.name} version {version.version}"
        raise Corrupt(
            f"{golden_predictions.FILE}, the golden predictions of {label}, differ from what was registered",
            integrity.RESTORE_HINT,
            code="package.damaged",
        )
    check_form(fetched / MODEL)
    require_signature(fetched, evidence / signing.FILE)


@maps_tracking_errors
def check_listed(client: MlflowClient, version: Registered) -> None:
    """Compare names and sizes of a stored package with its listing, without fetching it.

    Raises:
        Refused: modelworks did not register the version.
        Corrupt: the package or a file is missing, or a file has another size or is not listed.
    """
    with tempfile.TemporaryDirectory() as name:
        _fetch_evidence(client, version, Path(name))


@maps_tracking_errors
def fetch(client: MlflowClient, version: Registered, temporary: Path) -> Path:
    """Fetch and verify a version without executing any of it; return the folder.

    Raises:
        Refused, Corrupt: as in `package_folder`.
    """
    fetched = temporary / "version"
    fetched.mkdir()
    _fetch_evidence(client, version, fetched)
    _fetch_package(client, version, temporary, fetched / MODEL)
    _verify(fetched, version)
    return fetched


def _fetch_package(client: MlflowClient, version: Registered, temporary: Path, target: Path) -> None:
    """Fetch a package through a temporary folder, without MLflow's load note."""
    from mlflow.artifacts import download_artifacts

    with _fetching(client, version) as address:
        model = download_artifacts(artifact_uri=address, dst_path=str(temporary), tracking_uri=client.tracking_uri)
    Path(model).rename(target)
    integrity.remove_load_note(target)


def _fetch_evidence(client: MlflowClient, version: Registered, folder: Path) -> None:
    """Fetch the evidence, and check names and sizes in the store before the package is fetched."""
    _require_ours(version)
    with _fetching(client, version) as address:
        integrity.check_evidence_sizes(client, version.run_id)
        client.download_artifacts(version.run_id, integrity.EVIDENCE, str(folder))
        listing = integrity.read_listing(folder / integrity.EVIDENCE / integrity.FILES)
        integrity.check_listing(listing, version.digest)
        integrity.check_stored(client, address, listing)


@contextmanager
def _fetching(client: MlflowClient, version: Registered) -> Iterator[str]:
    """Yield the URI of a version's package; convert missing files in the block to `Corrupt`."""
    from mlflow.exceptions import MlflowException

    address = client.get_model_version_download_uri(version.name, str(version.version))
    try:
        yield address
    except (MlflowException, FileNotFoundError, shutil.SpecialFileError) as error:
        if is_outage(error, client.tracking_uri):
            raise
        raise Corrupt(
            f"the package of {version.name} version {version.version} cannot be fetched from {address}: {error}",
            integrity.RESTORE_HINT,
            code="package.unavailable",
        ) from error


def _require_ours(version: Registered) -> None:
    if not version.digest or not version.run_id:
        raise Refused(
            f"{version.name} version {version.version} was not registered by modelworks: it has no digest to compare with",
            "promote a version that `modelworks run` registered",
            code="version.not-ours",
        )
    if not re.fullmatch(r"[0-9a-f]{64}", version.digest):  # it is used as a folder name
        raise Corrupt(
            f"{version.name} version {version.version}: its digest tag is not a SHA-256: {version.digest[:80]}",
            integrity.RESTORE_HINT,
            code="version.bad-digest",
        )


def _or_new(process: IsolatedModel | None) -> AbstractContextManager[IsolatedModel]:
    return IsolatedModel() if process is None else nullcontext(process)

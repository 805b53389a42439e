"""What is in the registry is what was registered: fetched as a stranger would, compared, and asked."""

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
from modelworks.registry.backend.error_mapping import is_outage, said_clearly
from modelworks.registry.packaging import build, integrity, signing
from modelworks.registry.packaging.allowed_layout import check_form
from modelworks.registry.packaging.signing import demand_signature
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
"""In the evidence: how the libraries it was asked with differ from those it was evaluated with."""
MODEL = "model"
"""Folder of the package in what was fetched, beside that of the evidence."""


@said_clearly
def prove(
    client: MlflowClient, version: Registered, witness: IsolatedModel | None = None, *, other_libraries: bool = False
) -> dict[str, Any]:
    """Fetch a version as a stranger would, compare every byte, and ask it in a fresh process; returns the evidence.

    Args:
        client: of the store.
        version: the one to prove.
        witness: a fresh process made earlier, to save the wait for its start.
        other_libraries: whether it may be asked with other libraries than those it was evaluated with.

    Raises:
        Corrupt: the package or what it is compared with are not what was registered.
        Refused: the libraries differ, or the model does not load or does not say what it said.
        Unavailable: the fresh process died.
    """
    with tempfile.TemporaryDirectory() as name, _witness(witness) as process:
        fetched = fetch(client, version, Path(name))
        differing = library_versions.differences(process, fetched / MODEL)
        if differing and not other_libraries:
            raise Refused(
                f"{version.name} version {version.version} was evaluated with other libraries: {'; '.join(differing)}",
                "install those, or --override with a --reason",
                code="version.other-libraries",
            )
        return {
            "digest": version.digest,
            **({OTHER_LIBRARIES: differing} if differing else {}),
            **({"signature": "verified"} if signing_keys() else {}),
            **golden_predictions.check(
                process, fetched / MODEL, fetched / integrity.EVIDENCE / golden_predictions.FILE
            ),
        }


@said_clearly
def model_folder(client: MlflowClient, project: Project, name: str, version: int) -> Path:
    """The saved model of a version on this machine, fetched once and verified each time.

    Raises:
        BadInput: there is no such version.
        Refused: it was not registered by modelworks.
        Corrupt: the package is not what was registered, or not signed although a key is named.
    """
    return build.saved_model(package_folder(client, project, name, version))


@said_clearly
def package_folder(client: MlflowClient, project: Project, name: str, version: int) -> Path:
    """The package of a version on this machine, likewise: the folder with the MLmodel file.

    Raises:
        BadInput, Refused, Corrupt: as for `model_folder`.
    """
    chosen = queries.get(client, name, version)
    _demand_ours(chosen)
    kept = project.state / "versions" / chosen.digest
    with locked(project.locks / "versions.lock", f"fetching {name} version {version}"), disk_errors(kept):
        if not _is_intact(kept, chosen):
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            for leftover in kept.parent.glob(".fetch-*"):  # of a killed process
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=kept.parent) as aside:
                fetched = fetch(client, chosen, Path(aside))
                with effect("proof.keep"):
                    fetched.rename(kept)
    return kept / MODEL


def _is_intact(kept: Path, version: Registered) -> bool:
    """Whether a version was fetched before and is as it was then; a damaged copy is named and fetched anew."""
    if not kept.exists():
        return False
    try:
        _verify(kept, version)
    except Corrupt as error:
        logging.getLogger(__name__).warning("%s: %s: it is fetched again", kept, error.message)
        return False
    return True


def _verify(fetched: Path, version: Registered) -> None:
    """Compare everything that was fetched with what the version's tags and its signature say.

    Raises:
        Corrupt: something differs, or is not of the form that every package has.
    """
    evidence = fetched / integrity.EVIDENCE
    integrity.verify(fetched / MODEL, version.digest, integrity.read_listing(evidence / integrity.FILES))
    asked = evidence / golden_predictions.FILE
    if not asked.is_file() or file_digest(asked) != version.tags.get(tags.PROBE):
        named = f"{version.name} version {version.version}"
        raise Corrupt(
            f"{golden_predictions.FILE}, the test rows kept with {named}, is not what was registered",
            integrity.WAY_OUT,
            code="package.damaged",
        )
    check_form(fetched / MODEL)
    demand_signature(fetched, evidence / signing.FILE)


@said_clearly
def check_listed(client: MlflowClient, version: Registered) -> None:
    """Compare names and sizes of a stored package with its listing; the package itself is not fetched.

    Raises:
        Refused: modelworks did not register the version.
        Corrupt: the package is not there, or a file is missing, of another size, or one too many.
    """
    with tempfile.TemporaryDirectory() as name:
        _fetch_evidence(client, version, Path(name))


@said_clearly
def fetch(client: MlflowClient, version: Registered, aside: Path) -> Path:
    """A new folder with a version's verified package, `model`, and its evidence; nothing of it is executed.

    Raises:
        Refused, Corrupt: as `package_folder`.
    """
    fetched = aside / "version"
    fetched.mkdir()
    _fetch_evidence(client, version, fetched)
    _fetch_package(client, version, aside, fetched / MODEL)
    _verify(fetched, version)
    return fetched


def _fetch_package(client: MlflowClient, version: Registered, aside: Path, target: Path) -> None:
    """Fetch a package by way of a temporary folder, without MLflow's note of an earlier load."""
    from mlflow.artifacts import download_artifacts

    with _fetching(client, version) as address:
        model = download_artifacts(artifact_uri=address, dst_path=str(aside), tracking_uri=client.tracking_uri)
    Path(model).rename(target)
    integrity.remove_load_note(target)


def _fetch_evidence(client: MlflowClient, version: Registered, folder: Path) -> None:
    """Fetch what was kept with a package. What the store has too many, or far too large, is refused unfetched."""
    _demand_ours(version)
    with _fetching(client, version) as address:
        integrity.check_evidence_sizes(client, version.run_id)
        client.download_artifacts(version.run_id, integrity.EVIDENCE, str(folder))
        listing = integrity.read_listing(folder / integrity.EVIDENCE / integrity.FILES)
        integrity.check_listing(listing, version.digest)
        integrity.check_stored(client, address, listing)


@contextmanager
def _fetching(client: MlflowClient, version: Registered) -> Iterator[str]:
    """The address of a version's package; what the store lacks is corrupt, not an outage."""
    from mlflow.exceptions import MlflowException

    address = client.get_model_version_download_uri(version.name, str(version.version))
    try:
        yield address
    except (MlflowException, FileNotFoundError, shutil.SpecialFileError) as error:
        if is_outage(error, client.tracking_uri):
            raise
        raise Corrupt(
            f"the package of {version.name} version {version.version} cannot be fetched from {address}: {error}",
            integrity.WAY_OUT,
            code="package.unavailable",
        ) from error


def _demand_ours(version: Registered) -> None:
    if not version.digest or not version.run_id:
        raise Refused(
            f"{version.name} version {version.version} was not registered by modelworks: it has no digest to compare with",
            "promote a version that `modelworks run` registered",
            code="version.not-ours",
        )
    if not re.fullmatch(r"[0-9a-f]{64}", version.digest):  # it becomes the name of a folder
        raise Corrupt(
            f"{version.name} version {version.version}: its digest is none: {version.digest[:80]}",
            integrity.WAY_OUT,
            code="version.bad-digest",
        )


def _witness(witness: IsolatedModel | None) -> AbstractContextManager[IsolatedModel]:
    return IsolatedModel() if witness is None else nullcontext(witness)

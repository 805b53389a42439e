"""What is in the registry is what was registered: fetched as a stranger would, compared, and asked."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.digest import file_digest
from modelworks.errors import Corrupt, Refused
from modelworks.locks import locked
from modelworks.registry import lineage, package, probe, versions
from modelworks.registry.failures import is_outage, said_clearly
from modelworks.registry.witness import Witness
from modelworks.store import disk_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.registry.versions import Registered

__all__ = ["model_folder", "prove"]


@said_clearly
def prove(client: MlflowClient, version: Registered, witness: Witness | None = None) -> dict[str, Any]:
    """Fetch a version as a stranger would, compare every byte, and ask it in a fresh process; returns the evidence.

    Raises:
        Corrupt: the package or what it is compared with are not what was registered.
        Refused: the model does not load or does not say what it said.
        Unavailable: the fresh process died.
    """
    with tempfile.TemporaryDirectory() as name, _witness(witness) as process:
        fetched = _fetch(client, version, Path(name))
        return {
            "digest": version.digest,
            **probe.check(process, fetched / "model", fetched / package.EVIDENCE / probe.FILE),
        }


@said_clearly
def model_folder(client: MlflowClient, project: Project, name: str, version: int) -> Path:
    """The saved model of a version on this machine, fetched once and verified each time.

    Raises:
        BadInput: there is no such version.
        Corrupt: the package is not what was registered.
    """
    chosen = versions.get(client, name, version)
    kept = project.state / "versions" / (chosen.digest or "unknown")
    with locked(project.locks / "versions.lock", f"fetching {name} version {version}"), disk_errors(kept):
        if not _is_intact(kept, chosen.digest):
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            for leftover in kept.parent.glob(".fetch-*"):  # of a killed process
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=kept.parent) as aside:
                _fetch(client, chosen, Path(aside)).rename(kept)
    return package.saved_model(kept / "model")


def _is_intact(folder: Path, digest: str) -> bool:
    try:
        package.verify(folder / "model", digest, package.read_listing(folder / package.EVIDENCE / package.FILES))
    except Corrupt:
        return False
    return True


def _fetch(client: MlflowClient, version: Registered, aside: Path) -> Path:
    """A folder with a version's verified package, `model`, and what was kept with it; nothing of it is executed."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    named = f"{version.name} version {version.version}"
    if not version.digest or not version.run_id:
        raise Refused(
            f"{named} was not registered by modelworks: it has no digest to compare with",
            "promote a version that `modelworks run` registered",
        )
    fetched = aside / "version"
    fetched.mkdir()
    address = client.get_model_version_download_uri(version.name, str(version.version))
    try:
        model = download_artifacts(artifact_uri=address, dst_path=str(aside), tracking_uri=client.tracking_uri)
        client.download_artifacts(version.run_id, package.EVIDENCE, str(fetched))
    except (MlflowException, FileNotFoundError) as error:
        if is_outage(error, client.tracking_uri):
            raise
        raise Corrupt(f"the package of {named} cannot be fetched from {address}: {error}", package.WAY_OUT) from error
    Path(model).rename(fetched / "model")
    evidence = fetched / package.EVIDENCE
    package.verify(fetched / "model", version.digest, package.read_listing(evidence / package.FILES))
    if file_digest(evidence / probe.FILE) != version.tags.get(lineage.PROBE):
        raise Corrupt(f"the test rows kept with {named} are not those it was registered with", package.WAY_OUT)
    return fetched


def _witness(witness: Witness | None) -> AbstractContextManager[Witness]:
    return Witness() if witness is None else nullcontext(witness)

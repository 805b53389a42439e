"""Check that production versions can be fetched and match their digests."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.cli.doctor.finding import Finding, failing, ok
from modelworks.errors import Corrupt, Interrupted, ModelworksError, Refused
from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Fetch each model's production version into a temporary directory.

    Report what was deleted in MLflow.
    """
    from modelworks.registry.backend.tracking_store import connect, store_exists
    from modelworks.registry.versions import deletions, queries

    try:
        if not store_exists(project):
            return
        client = connect(project)
    except Interrupted:
        raise
    except ModelworksError:  # reported by the check of the store
        return
    for name in deletions.model_names(client):
        number = queries.production(client, name)
        # A version without a digest is not ours; the check of the store reports it as missing from the audit log.
        if number and (chosen := queries.get(client, name, number)).digest:
            yield _version(client, chosen)
    for each in (*deletions.deleted_experiments(client), *deletions.unregistered_models(client)):
        yield failing(each.what, f"{each.message}: {each.hint}")


def _version(client: MlflowClient, version: Registered) -> Finding:
    from modelworks.registry.tracking import tags
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import deletions, provenance_record

    what = f"production of {version.name}"
    try:
        with tempfile.TemporaryDirectory() as name:
            verify_version.fetch(client, version, Path(name))
            if tags.RECORD in version.tags:  # early releases had none
                provenance_record.read_all(client, version, Path(name))
        missing = deletions.deleted_run(client, version)
    except (Corrupt, Refused) as error:
        return failing(what, f"version {version.version}: {error.message}: {_hint(client, version)}")
    if missing is not None:
        return failing(what, f"{missing.what}: {missing.message}: {missing.hint}")
    return ok(what, f"version {version.version} can be fetched and matches its digest")


def _hint(client: MlflowClient, version: Registered) -> str:
    """Suggest a restore from backup, or another version whose files are present."""
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import queries

    restore = "restore the artifact store from a backup"
    for other in reversed(queries.all_of(client, version.name)):
        if other.version == version.version or other.decision != "promote":
            continue
        try:
            verify_version.check_listed(client, other)
        except (Corrupt, Refused):
            continue
        return f"{restore}, or: modelworks promote {shlex.quote(other.name)} {other.version} --reason TEXT"
    return f"{restore}, or delete the version in the MLflow UI and run its config again"

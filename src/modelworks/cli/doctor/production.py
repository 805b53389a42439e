"""Production as the other verbs need it: its files can be fetched, are what was registered, and nobody deleted a part."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.cli.doctor.finding import Finding, ill, well
from modelworks.errors import Corrupt, Interrupted, ModelworksError, Refused
from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Each model's production version, fetched into a temporary folder; what was deleted in MLflow's pages."""
    from modelworks.registry.backend.tracking_store import connect, store_exists
    from modelworks.registry.versions import deletions, queries

    try:
        if not store_exists(project):
            return
        client = connect(project)
    except Interrupted:
        raise
    except ModelworksError:  # reported with the store itself
        return
    for name in deletions.model_names(client):
        number = queries.production(client, name)
        # A version without a digest is not ours: that the journal does not know it is reported with the store.
        if number and (chosen := queries.get(client, name, number)).digest:
            yield _version(client, chosen)
    for each in (*deletions.deleted_experiments(client), *deletions.unregistered_models(client)):
        yield ill(each.what, f"{each.message}: {each.hint}")


def _version(client: MlflowClient, version: Registered) -> Finding:
    from modelworks.registry.tracking import tags
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import deletions, provenance_record

    what = f"production of {version.name}"
    try:
        with tempfile.TemporaryDirectory() as name:
            verify_version.fetch(client, version, Path(name))
            if tags.RECORD in version.tags:  # early releases kept none
                provenance_record.read_all(client, version, Path(name))
        missing = deletions.deleted_run(client, version)
    except (Corrupt, Refused) as error:
        return ill(what, f"version {version.version}: {error.message}: {_way_out(client, version)}")
    if missing is not None:
        return ill(what, f"{missing.what}: {missing.message}: {missing.hint}")
    return well(what, f"version {version.version} can be fetched and is what was registered")


def _way_out(client: MlflowClient, version: Registered) -> str:
    """Restore a backup, or make another version production: one whose files are there."""
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
    return f"{restore}, or delete the version in MLflow's page and run its config again"

"""Read the registry without importing MLflow, in milliseconds instead of seconds.

An embedded store with the expected schema is read with SQL; otherwise MLflow's client is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.registry.backend import mlflow_sqlite_internals as tables
from modelworks.registry.backend.tracking_store import connect, database_of
from modelworks.registry.tracking import tags
from modelworks.registry.versions.queries import PRODUCTION, Registered, find, production
from modelworks.sqlite.databases import reading

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["RegistryState", "registry_state"]


@dataclass(frozen=True, kw_only=True)
class RegistryState:
    """The current state of a model in the registry."""

    version: Registered | None
    """The version with the pipeline key; None if there is none."""
    production: int
    """The production version; 0 for none."""


def registry_state(project: Project, name: str, key: str) -> RegistryState:
    """Return the version of a model with a pipeline key, and the production version.

    Raises:
        BadInput, Unavailable, Corrupt: as `connect`.
    """
    path = database_of(project.tracking_uri)
    if path is not None and not path.exists():
        return RegistryState(version=None, production=0)
    if path is not None and tables.read_revision(path) == tables.REVISION:
        with reading(path) as connection:
            version = tables.version_of(connection, name, tags.PIPELINE_KEY, key)
            found = None
            if version is not None:
                found = Registered(name=name, version=version, tags=tables.tags_of(connection, name, version))
            return RegistryState(version=found, production=tables.production_of(connection, name, PRODUCTION))
    client = connect(project)
    return RegistryState(version=find(client, name, key), production=production(client, name))

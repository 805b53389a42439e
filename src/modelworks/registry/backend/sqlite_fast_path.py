"""Look at the registry in milliseconds for runs with nothing to do; importing MLflow takes seconds.

An embedded store is read by SQL while its schema is the one that the SQL is written for; otherwise MLflow is asked.
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

__all__ = ["Glance", "glance"]


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What the registry holds now."""

    version: Registered | None
    """The version registered under the pipeline key asked for."""
    production: int
    """The version that is production; 0 for none."""


def glance(project: Project, name: str, key: str) -> Glance:
    """Return the version of a model under a pipeline key, and which version is production.

    Raises:
        BadInput, Unavailable, Corrupt: as `connect`.
    """
    path = database_of(project.tracking_uri)
    if path is not None and not path.exists():
        return Glance(version=None, production=0)
    if path is not None and tables.read_revision(path) == tables.REVISION:
        with reading(path) as connection:
            version = tables.version_of(connection, name, tags.PIPELINE_KEY, key)
            found = None
            if version is not None:
                found = Registered(name=name, version=version, tags=tables.tags_of(connection, name, version))
            return Glance(version=found, production=tables.production_of(connection, name, PRODUCTION))
    client = connect(project)
    return Glance(version=find(client, name, key), production=production(client, name))

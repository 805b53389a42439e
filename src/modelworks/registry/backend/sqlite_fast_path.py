"""A look at the registry for runs with nothing to do: milliseconds instead of the seconds that importing MLflow takes.

Reads the embedded store's tables directly, and only while their schema is the one this file was written for.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.registry.backend.tracking_store import connect, database_of, read_revision
from modelworks.registry.tracking import tags as lineage
from modelworks.registry.versions.queries import PRODUCTION, Registered, find, production

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.project import Project

__all__ = ["Glance", "glance"]

REVISION = "dc11669786a5"
"""Of MLflow 3.17's schema; with any other, MLflow itself is asked."""
WORKSPACE = "default"


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What the registry says now."""

    version: Registered | None
    """The version registered under the pipeline key asked for."""
    production: int
    """The version that is production; 0 for none."""


def glance(project: Project, name: str, key: str) -> Glance:
    """The version of a model under a pipeline key, and what is production.

    Raises:
        BadInput, Unavailable, Corrupt: as `connect`.
    """
    path = database_of(project.tracking_uri)
    if path is not None and not path.exists():
        return Glance(version=None, production=0)
    if path is not None and read_revision(path) == REVISION:
        return _read(path, name, key)
    client = connect(project)
    return Glance(version=find(client, name, key), production=production(client, name))


def _read(path: Path, name: str, key: str) -> Glance:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20)
    try:
        (version,) = connection.execute(
            "SELECT min(version) FROM model_version_tags JOIN model_versions USING (workspace, name, version)"
            " WHERE workspace = ? AND name = ? AND key = ? AND value = ? AND current_stage IS NOT 'Deleted_Internal'",
            (WORKSPACE, name, lineage.PIPELINE_KEY, key),
        ).fetchone()
        tags = connection.execute(
            "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?",
            (WORKSPACE, name, version),
        ).fetchall()
        alias = connection.execute(
            "SELECT version FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?",
            (WORKSPACE, name, PRODUCTION),
        ).fetchone()
    finally:
        connection.close()
    return Glance(
        version=Registered(name=name, version=version, tags=dict(tags)) if version is not None else None,
        production=int(alias[0]) if alias else 0,
    )

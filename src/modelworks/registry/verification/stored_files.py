"""Check in milliseconds that the files of a version are in the artifact store.

A run with nothing to do uses this. `verify_version.fetch` compares every byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from modelworks.errors import Corrupt
from modelworks.registry.backend.mlflow_sqlite_internals import REVISION, files_of, read_revision
from modelworks.registry.backend.tracking_store import check_location, connect, database_of
from modelworks.registry.packaging import integrity
from modelworks.registry.tracking import tags
from modelworks.sqlite.databases import reading

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["check_quickly"]


@dataclass(frozen=True, kw_only=True)
class _Locations:
    """Locations of a version's files in an embedded store."""

    package: Path
    evidence: Path
    digest: str


def check_quickly(project: Project, name: str, version: int) -> None:
    """Compare names and sizes of a version's stored files with its listing.

    Raises:
        BadInput: there is no such version.
        Refused: modelworks did not register it.
        Corrupt: a file is missing, has another size or is not listed.
        Unavailable: the store does not answer, or the project was moved.
    """
    places = _locations(project, name, version)
    if places is None:
        from modelworks.registry.verification import verify_version
        from modelworks.registry.versions import queries

        client = connect(project)
        verify_version.check_listed(client, queries.get(client, name, version))
        return
    listing = integrity.read_listing(places.evidence / integrity.FILES)
    integrity.check_listing(listing, places.digest)
    integrity.check_folder(places.package, listing)


def _locations(project: Project, name: str, version: int) -> _Locations | None:
    """Read the locations from an embedded store with SQL; None if MLflow's client is needed."""
    database = database_of(project.tracking_uri)
    if database is None or read_revision(database) != REVISION:
        return None
    check_location(database)
    with reading(database) as connection:
        row = files_of(connection, name, version, tags.DIGEST)
    package, digest, artifacts = row
    if not digest or not str(package).startswith("file:") or (artifacts and not str(artifacts).startswith("file:")):
        return None
    if not artifacts:
        raise Corrupt(
            f"the run of {name} version {version} is missing from the tracking store",
            integrity.RESTORE_HINT,
            code="version.run-deleted",
        )
    return _Locations(package=_path(package), evidence=_path(artifacts) / integrity.EVIDENCE, digest=digest)


def _path(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))

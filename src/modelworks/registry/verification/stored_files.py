"""Whether the files of a production version are in the artifact store, found out in milliseconds.

A run with nothing to do asks this. `proof.fetch` compares every byte, and takes as long as the package is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from modelworks.errors import Corrupt
from modelworks.registry.backend.mlflow_sqlite_internals import REVISION, files_of, read_revision
from modelworks.registry.backend.tracking_store import check_place, connect, database_of
from modelworks.registry.packaging import integrity
from modelworks.registry.tracking import tags
from modelworks.sqlite.databases import reading

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["check_quickly"]


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where the embedded store has the files of a version."""

    package: Path
    evidence: Path
    digest: str


def check_quickly(project: Project, name: str, version: int) -> None:
    """Compare names and sizes of a version's stored files with the listing that its tag vouches for.

    Raises:
        BadInput: there is no such version.
        Refused: modelworks did not register it.
        Corrupt: a file is missing, of another size, or one too many.
        Unavailable: the store does not answer, or its project was moved.
    """
    places = _places(project, name, version)
    if places is None:
        from modelworks.registry.verification import verify_version
        from modelworks.registry.versions import queries

        client = connect(project)
        verify_version.check_listed(client, queries.get(client, name, version))
        return
    listing = integrity.read_listing(places.evidence / integrity.FILES)
    integrity.check_listing(listing, places.digest)
    integrity.check_folder(places.package, listing)


def _places(project: Project, name: str, version: int) -> _Places | None:
    """Read from the embedded store without MLflow; None where only MLflow can answer."""
    database = database_of(project.tracking_uri)
    if database is None or read_revision(database) != REVISION:
        return None
    check_place(database)
    with reading(database) as connection:
        row = files_of(connection, name, version, tags.DIGEST)
    package, digest, artifacts = row
    if not digest or not str(package).startswith("file:") or (artifacts and not str(artifacts).startswith("file:")):
        return None
    if not artifacts:
        raise Corrupt(
            f"the run that made {name} version {version} is gone from the tracking store",
            integrity.WAY_OUT,
            code="version.run-deleted",
        )
    return _Places(package=_path(package), evidence=_path(artifacts) / integrity.EVIDENCE, digest=digest)


def _path(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))

"""A data set whose remote fails, for tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from faults.object_server import ObjectServer

from modelworks.data.dvc_storage import object_cache
from modelworks.data.sources import Table
from modelworks.project import Project

REMOTE = """\
[core]
    remote = team
['remote "team"']
    url = {address}
    method = PUT
    verify = true
    read_timeout = 0.5
    connect_timeout = 0.5
"""

REVIEWS = Table(kind="table", path="reviews.csv", text="text", label="label")


def name_remote(root: Path, remote: ObjectServer) -> None:
    (root / ".dvc").mkdir(exist_ok=True)
    (root / ".dvc" / "config").write_text(REMOTE.format(address=remote.address))


def write_reviews(root: Path, rows: int) -> None:
    lines = [f"review number {row},{'good' if row % 2 else 'bad'}" for row in range(rows)]
    (root / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")


def path_of(md5: str) -> str:
    """Return the path of an object in a remote."""
    return f"/team/files/md5/{md5[:2]}/{md5[2:]}"


def listing_path(project: Project) -> str:
    """Return the path of the listing of data/ in a remote; DVC writes it last."""
    return path_of(object_cache.listing_digest(object_cache.subtree(project.data)))


def lose_data(project: Project) -> None:
    """Delete data and cache, as in a new clone."""
    for folder in (project.data, project.root / ".dvc" / "cache", Path(os.environ["DVC_SITE_CACHE_DIR"])):
        shutil.rmtree(folder)

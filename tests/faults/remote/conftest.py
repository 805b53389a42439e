"""A remote whose requests can fail, and a project with a data set."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc_http.spec import HTTPFileSystem
from faults.object_server import ObjectServer, object_server
from faults.remote.remote_data import name_remote, write_reviews

from modelworks.project import Project


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectServer]:
    # DVC caches there what remotes have, also of another test's remote on the same port.
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc"))
    with object_server() as server:
        yield server
    HTTPFileSystem.clear_instance_cache()
    gc.collect()  # here, where its warnings are ignored


@pytest.fixture
def project(tmp_path: Path, remote: ObjectServer) -> Project:
    """A project with a source and the server as default remote."""
    root = tmp_path / "project"
    (root / "configs").mkdir(parents=True)
    write_reviews(root, 20)
    name_remote(root, remote)
    return Project(root)

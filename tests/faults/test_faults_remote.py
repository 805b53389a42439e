"""Faults of a DVC remote are reported with its name, and damaged data are not used."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc_http.spec import HTTPFileSystem
from faults.object_server import Fault, ObjectServer, object_server
from faults.projects import PIPELINES, FaultWorkspace

from modelworks.data import versioning
from modelworks.data.dvc_storage import object_cache
from modelworks.data.ingest import ingest
from modelworks.data.sources import Table
from modelworks.errors import BadInput, Corrupt, ModelworksError, Unavailable
from modelworks.project import Project

# DVC leaves the sessions of its HTTP client to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed connector:ResourceWarning"),
]

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
INGEST = """
import sys
from pathlib import Path

from modelworks.data.ingest import ingest
from modelworks.data.sources import Table
from modelworks.project import Project

ingest(Project(Path(sys.argv[1])), Table(kind="table", path="reviews.csv", text="text", label="label"))
"""


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


def assert_complete(project: Project, remote: ObjectServer) -> None:
    """Assert that the remote has all of data/ and that every object matches its digest."""
    wanted = {path_of(md5) for md5 in object_cache.subtree(project.data).values()} | {listing_path(project)}
    assert wanted <= remote.objects.keys()
    for path, content in remote.objects.items():
        md5 = "".join(path.split("/")[-2:]).removesuffix(".dir")
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


def lose_data(project: Project) -> None:
    """Delete data and cache, as in a new clone."""
    for folder in (project.data, project.root / ".dvc" / "cache", Path(os.environ["DVC_SITE_CACHE_DIR"])):
        shutil.rmtree(folder)


@pytest.mark.parametrize("request_number", [1, 3])
def test_killed_push_is_completed_by_the_next(project: Project, remote: ObjectServer, request_number: int) -> None:
    remote.next["PUT"] = [*[None] * (request_number - 1), "hang"]
    with subprocess.Popen([sys.executable, "-c", INGEST, str(project.root)], stderr=subprocess.DEVNULL) as process:
        assert remote.hanging.wait(120)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert listing_path(project) not in remote.objects, "the remote must not look complete"
    remote.repair()

    assert ingest(project, REVIEWS)[1] in ("ran", "verified")

    assert_complete(project, remote)


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (500, Unavailable, "dvc.remote-failing"),
        (503, Unavailable, "dvc.remote-failing"),
        ("cut", Unavailable, "dvc.remote-failing"),
        ("hang", Unavailable, "dvc.remote-failing"),
        (401, BadInput, "dvc.remote-refused"),
        (403, BadInput, "dvc.remote-refused"),
    ],
)
def test_failing_upload_names_the_remote_and_ingest_is_repeated(
    project: Project, remote: ObjectServer, fault: Fault, kind: type[ModelworksError], code: str
) -> None:
    remote.broken["PUT"] = fault
    for _ in range(2):  # also if the data are up to date
        with pytest.raises(kind) as caught:
            ingest(project, REVIEWS)
        assert caught.value.code == code
        assert f"team ({remote.address})" in caught.value.message
        assert isinstance(fault, str) or str(fault) in caught.value.message
    remote.repair()
    assert ingest(project, REVIEWS)[1] == "verified"
    assert_complete(project, remote)


def test_rebuilt_data_are_pushed_after_a_failed_attempt(project: Project, remote: ObjectServer) -> None:
    ingest(project, REVIEWS)
    lose_data(project)
    remote.objects.clear()
    remote.broken["PUT"] = 503
    with pytest.raises(Unavailable):
        ingest(project, REVIEWS)
    remote.repair()
    ingest(project, REVIEWS)
    assert_complete(project, remote)


@pytest.mark.parametrize("whose", ["the listing", "the files"])
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (500, Unavailable, "dvc.remote-failing"),
        (503, Unavailable, "dvc.remote-failing"),
        ("cut", Unavailable, "dvc.remote-failing"),
        (401, BadInput, "dvc.remote-refused"),
        (403, BadInput, "dvc.remote-refused"),
        ("short", Corrupt, "dvc.object-damaged"),
        ("flipped", Corrupt, "dvc.object-damaged"),
    ],
)
def test_failing_or_damaged_download_names_the_remote_and_is_not_used(
    project: Project, remote: ObjectServer, whose: str, fault: Fault, kind: type[ModelworksError], code: str
) -> None:
    ingest(project, REVIEWS)
    listing, complete = listing_path(project), object_cache.subtree(project.data)
    lose_data(project)
    remote.answered.clear()
    remote.broken["GET"] = fault
    if whose == "the files":
        remote.spared = {listing}
    with pytest.raises(kind) as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == code
    assert f"team ({remote.address})" in caught.value.message
    assert not project.data.exists()
    assert (
        next(
            object_cache.damaged(project.root / ".dvc" / "cache" / "files" / "md5", listing[-38:].replace("/", "")), ""
        )
        == ""
    )
    if kind is BadInput:
        assert remote.answered["GET", int(fault)] <= 10, "a refusal must not be retried"
    remote.repair()
    ingest(project, REVIEWS)
    assert object_cache.subtree(project.data) == complete


@pytest.mark.parametrize("fault", [500, 503])
def test_download_is_retried_after_server_errors(project: Project, remote: ObjectServer, fault: Fault) -> None:
    ingest(project, REVIEWS)
    complete = object_cache.subtree(project.data)
    lose_data(project)
    remote.next["GET"] = [fault] * 3
    assert versioning.fetch(project)
    assert object_cache.subtree(project.data) == complete


def test_hanging_remote_is_unavailable(project: Project, remote: ObjectServer) -> None:
    ingest(project, REVIEWS)
    lose_data(project)
    remote.broken["GET"] = "hang"
    with pytest.raises(Unavailable) as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == "dvc.remote-failing"
    assert not project.data.exists()


def test_incomplete_object_in_the_remote_is_corrupt(project: Project, remote: ObjectServer) -> None:
    remote.next["PUT"] = ["short"]  # although the server reports success
    ingest(project, REVIEWS)
    lose_data(project)
    with pytest.raises(Corrupt) as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == "dvc.object-damaged"
    assert not project.data.exists()


def test_password_in_the_url_of_a_remote_is_not_printed(project: Project, remote: ObjectServer) -> None:
    config = project.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("http://", "http://team:hunter2hunter2@"))
    remote.broken["PUT"] = 403
    with pytest.raises(BadInput) as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == "dvc.remote-refused"
    assert "hunter2" not in str(caught.value)


def test_run_stops_when_the_remote_rejects_the_data(tmp_path: Path, remote: ObjectServer, server_url: str) -> None:
    workspace = FaultWorkspace(tmp_path, PIPELINES["transformer"], server_url)
    workspace.clear()
    name_remote(workspace.root, remote)
    remote.broken["PUT"] = 403

    refused = workspace.run()

    assert refused.code == 2, refused.stderr
    assert f"error: DVC remote team ({remote.address}) refuses: 403" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert remote.answered["PUT", 403] <= 3, "a refusal must not be retried"
    assert not (workspace.project.stages / "train").exists()

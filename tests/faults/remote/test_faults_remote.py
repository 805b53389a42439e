"""Faults of a DVC remote are reported with its name, and damaged data are not used."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.object_server import Fault, ObjectServer
from faults.projects import PIPELINES, FaultWorkspace
from faults.remote.remote_data import REVIEWS, listing_path, lose_data, name_remote, path_of

from modelworks.data.dvc_storage import object_cache
from modelworks.data.ingest import ingest
from modelworks.errors import BadInput, ModelworksError, Unavailable
from modelworks.project import Project

# DVC leaves the sessions of its HTTP client to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed connector:ResourceWarning"),
]

INGEST = """
import sys
from pathlib import Path

from modelworks.data.ingest import ingest
from modelworks.data.sources import Table
from modelworks.project import Project

ingest(Project(Path(sys.argv[1])), Table(kind="table", path="reviews.csv", text="text", label="label"))
"""


def assert_complete(project: Project, remote: ObjectServer) -> None:
    """Assert that the remote has all of data/ and that every object matches its digest."""
    wanted = {path_of(md5) for md5 in object_cache.subtree(project.data).values()} | {listing_path(project)}
    assert wanted <= remote.objects.keys()
    for path, content in remote.objects.items():
        md5 = "".join(path.split("/")[-2:]).removesuffix(".dir")
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


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


def test_password_in_the_url_of_a_remote_is_not_printed(project: Project, remote: ObjectServer) -> None:
    config = project.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("http://", "http://team:hunter2hunter2@"))
    remote.broken["PUT"] = 403
    with pytest.raises(BadInput) as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == "dvc.remote-refused"
    assert "hunter2" not in str(caught.value)


@pytest.mark.slow
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

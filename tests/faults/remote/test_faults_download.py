"""A failing download is retried, reported, and never used."""

from __future__ import annotations

import pytest
from faults.object_server import Fault, ObjectServer
from faults.remote.remote_data import REVIEWS, listing_path, lose_data

from modelworks.data import versioning
from modelworks.data.dvc_storage import object_cache
from modelworks.data.ingest import ingest
from modelworks.errors import BadInput, Corrupt, ModelworksError, Unavailable
from modelworks.project import Project

# DVC leaves the sessions of its HTTP client to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed connector:ResourceWarning"),
]


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

"""Undocumented behaviour of DVC 3.67 that modelworks depends on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelworks.data import versioning
from modelworks.data.dvc_storage import dvc_file, object_cache, remotes, transfer
from modelworks.data.dvc_storage.repository import local_remote, opened, unreadable_lock
from modelworks.errors import Corrupt, Unavailable
from modelworks.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with two files under DVC, in the cache and in the default remote."""
    project = Project(tmp_path)
    project.make_private_folders()
    for name in ("a", "b"):
        (project.data / name).mkdir(parents=True)
        (project.data / name / "examples.parquet").write_text(f"the rows of {name}")
    versioning.record(project)
    return project


@pytest.fixture
def names(project: Project) -> Iterator[list[str]]:
    """The digests of the pinned objects."""
    listing = object_cache.listing(object_cache.cache(project), str(dvc_file.read(project)))
    assert listing is not None
    return iter([sorted(listing.values())])


def test_pin_equals_our_digest_of_the_folder(project: Project) -> None:
    assert dvc_file.read(project) == object_cache.listing_digest(object_cache.subtree(project.data))


def test_cache_has_objects_by_digest_and_the_listing_as_json(project: Project) -> None:
    cache, digest = object_cache.cache(project), str(dvc_file.read(project))
    assert object_cache.listing(cache, digest) == object_cache.subtree(project.data)
    assert object_cache.complete(cache, digest)
    for md5 in object_cache.subtree(project.data).values():
        assert (cache / md5[:2] / md5[2:]).is_file()


def test_local_remote_has_the_layout_of_the_cache(project: Project) -> None:
    with opened(project) as repository:
        remote = local_remote(repository, project)
    assert remote is not None
    assert remote.parents[1] == project.state / "dvc-remote"
    assert object_cache.complete(remote, str(dvc_file.read(project)))


def test_remotes_equal_those_that_dvc_reads(project: Project) -> None:
    (project.root / ".dvc" / "config.local").write_text(
        "['remote \"team\"']\n    url = s3://bucket/data\n[core]\n    remote = team\n"
    )
    with opened(project) as repository:
        config = repository.config
    assert remotes.remotes(project) == (
        config["core"]["remote"],
        {"local": "../.modelworks/dvc-remote", "team": config["remote"]["team"]["url"]},
    )


def test_transfer_sends_and_fetches_objects_and_rejects_damaged_ones(
    project: Project, names: Iterator[list[str]]
) -> None:
    (name, other), cache = next(names), object_cache.cache(project)
    path = cache / name[:2] / name[2:]
    with opened(project) as repository:
        remote = local_remote(repository, project)
        assert remote is not None
        for each in (path, remote / name[:2] / name[2:]):
            each.chmod(0o644)
        (remote / name[:2] / name[2:]).unlink()
        transfer.upload(repository, cache, [name, other])
        path.unlink()
        assert transfer.download(repository, cache, [name])
        assert object_cache.holds(cache, name)
        path.unlink()
        (remote / name[:2] / name[2:]).chmod(0o644)
        (remote / name[:2] / name[2:]).write_text("other bytes")
        with pytest.raises(Corrupt):
            transfer.download(repository, cache, [name])
        assert not path.exists()
        (remote / name[:2] / name[2:]).unlink()
        assert not transfer.download(repository, cache, [name])


def test_temporary_files_of_dvc_are_deleted(project: Project) -> None:
    from dvc_objects.fs.utils import tmp_fname

    leftover = project.data / "a" / tmp_fname("")
    leftover.touch()
    (project.data / "a" / ".mine.tmp").touch()
    versioning.clear_leftovers(project)
    assert sorted(path.name for path in (project.data / "a").iterdir()) == [".mine.tmp", "examples.parquet"]


def test_truncated_rwlock_blocks_dvc_and_is_found(project: Project) -> None:
    assert unreadable_lock(project) is None
    table = project.root / ".dvc" / "tmp" / "rwlock"
    table.write_text('{"/some/pa')
    (project.data / "a" / "examples.parquet").write_text("other rows")
    with pytest.raises(Unavailable) as caught:
        versioning.record(project)
    assert caught.value.hint == "run modelworks doctor, which removes the unreadable lock file"
    assert unreadable_lock(project) == table

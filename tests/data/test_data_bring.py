"""Any data version can be had beside data/, from the cache or a remote, and where they are is written without secrets."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from dvc_objects.fs import generic

from modelworks.data import versioning
from modelworks.data.dvc_storage import object_cache
from modelworks.data.dvc_storage.remotes import remotes
from modelworks.data.ingest import ingest
from modelworks.data.sources import Table
from modelworks.errors import Corrupt, Interrupted
from modelworks.project import Project

# DVC uses what pygtrie, its library, is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

SOURCE = Table(kind="table", path="rows.csv", text="text", label="label")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose data has moved on, and the pin of its first version."""
    root = tmp_path_factory.mktemp("ready")
    project = Project(root)
    for rows in (20, 30):
        (root / "rows.csv").write_text("text,label\n" + "".join(f"text {row},x\n" for row in range(rows)))
        ingest(project, SOURCE)
        if rows == 20:
            first = (root / "data.dvc").read_text()
    return root, first


@pytest.fixture
def project(ready: tuple[Path, str], tmp_path: Path) -> Project:
    shutil.copytree(ready[0], tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture
def first(ready: tuple[Path, str]) -> str:
    return ready[1]


@pytest.fixture
def beside(tmp_path: Path) -> Project:
    """An empty folder for the data."""
    (tmp_path / "beside").mkdir()
    project = Project(tmp_path / "beside")
    project.make_private_folders()
    return project


def damage(folder: Path, kind: Callable[[Path], object]) -> None:
    """Do something to every stored Parquet file of the first version and the second one."""
    for path in folder.rglob("*"):
        if path.is_file() and path.read_bytes()[:4] == b"PAR1":
            path.chmod(0o644)
            kind(path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_old_version_comes_from_the_cache_and_data_stays_as_it_is(
    project: Project, first: str, beside: Project
) -> None:
    before = object_cache.subtree(project.root)
    shutil.rmtree(project.state / "dvc-remote")
    assert versioning.bring(project, first, beside)
    assert versioning.observe(beside, "rows").rows == 20
    shutil.rmtree(beside.root)
    after = object_cache.subtree(project.root)
    assert {name: md5 for name, md5 in after.items() if not name.startswith(".dvc/tmp")} == {
        name: md5 for name, md5 in before.items() if not name.startswith((".dvc/tmp", ".modelworks/dvc-remote"))
    }


def test_what_the_cache_lost_comes_from_the_remote(project: Project, first: str, beside: Project) -> None:
    shutil.rmtree(project.root / ".dvc" / "cache")
    assert versioning.bring(project, first, beside)
    assert versioning.observe(beside, "rows").rows == 20


def test_one_changed_byte_in_the_cache_is_mended_from_the_remote(project: Project, first: str, beside: Project) -> None:
    damage(project.root / ".dvc" / "cache", flip)
    assert versioning.bring(project, first, beside)
    assert versioning.observe(beside, "rows").rows == 20


def test_one_changed_byte_in_both_is_refused(project: Project, first: str, beside: Project) -> None:
    damage(project.root / ".dvc" / "cache", flip)
    damage(project.state / "dvc-remote", flip)
    with pytest.raises(Corrupt, match="is not what its name says"):
        versioning.bring(project, first, beside)


def test_what_nobody_has_is_said_not_to_be_there(project: Project, first: str, beside: Project) -> None:
    for folder in (project.root / ".dvc" / "cache", project.state / "dvc-remote"):
        damage(folder, Path.unlink)
    assert not versioning.bring(project, first, beside)


@pytest.fixture
def stopped_by_signals() -> Iterator[None]:
    """As the command line: SIGTERM raises one of our errors, wherever it comes."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    yield
    assert signal.getsignal(signal.SIGTERM) is stop
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("stopped_by_signals")
@pytest.mark.parametrize("place", ["/data/rows/", "/.dvc/cache/"])
def test_a_signal_while_objects_are_copied_is_no_outage(
    project: Project, first: str, beside: Project, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "/.dvc/cache/":
        shutil.rmtree(project.root / ".dvc" / "cache")
    copied, came = generic._try_links, []

    def interrupted(links: list[str], from_fs: Any, from_path: str, to_fs: Any, to_path: str, **options: Any) -> None:
        if place in to_path and not came:
            came.append(to_path)
            os.kill(os.getpid(), signal.SIGTERM)
        copied(links, from_fs, from_path, to_fs, to_path, **options)

    monkeypatch.setattr(generic, "_try_links", interrupted)
    with pytest.raises(Interrupted) as caught:
        versioning.bring(project, first, beside)
    assert caught.value.exit_code == 143
    assert came
    shutil.rmtree(beside.root)
    beside.root.mkdir()
    beside.make_private_folders()
    assert versioning.bring(project, first, beside)
    assert versioning.observe(beside, "rows").rows == 20


def test_remotes_are_named_without_passwords(project: Project) -> None:
    assert remotes(project) == ("local", {"local": "../.modelworks/dvc-remote"})
    (project.root / ".dvc" / "config").write_text(
        "[core]\n    remote = far\n['remote \"far\"']\n    url = s3://bucket/data\n"
        "['remote \"web\"']\n    url = https://me:hunter22@example.org/dvc?sig=abcdef\n"
    )
    (project.root / ".dvc" / "config.local").write_text("['remote \"far\"']\n    secret_access_key = hunter22\n")
    assert remotes(project) == ("far", {"far": "s3://bucket/data", "web": "https://example.org/dvc"})


def test_a_project_without_dvc_has_no_remotes(tmp_path: Path) -> None:
    assert remotes(Project(tmp_path)) == ("", {})

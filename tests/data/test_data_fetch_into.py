"""Any data version can be fetched into another project, and remotes are recorded without secrets."""

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

# DVC uses a deprecated class of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

SOURCE = Table(kind="table", path="rows.csv", text="text", label="label")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a project with two data versions, and the pin of the first."""
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
def target(tmp_path: Path) -> Project:
    """Return an empty project."""
    (tmp_path / "target").mkdir()
    project = Project(tmp_path / "target")
    project.make_private_folders()
    return project


def damage(folder: Path, change: Callable[[Path], object]) -> None:
    """Apply a change to every stored Parquet file of both versions."""
    for path in folder.rglob("*"):
        if path.is_file() and path.read_bytes()[:4] == b"PAR1":
            path.chmod(0o644)
            change(path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_old_version_is_fetched_from_the_cache_and_data_does_not_change(
    project: Project, first: str, target: Project
) -> None:
    before = object_cache.subtree(project.root)
    shutil.rmtree(project.state / "dvc-remote")
    assert versioning.fetch_into(project, first, target)
    assert versioning.observe(target, "rows").rows == 20
    shutil.rmtree(target.root)
    after = object_cache.subtree(project.root)
    assert {name: md5 for name, md5 in after.items() if not name.startswith(".dvc/tmp")} == {
        name: md5 for name, md5 in before.items() if not name.startswith((".dvc/tmp", ".modelworks/dvc-remote"))
    }


def test_version_missing_from_the_cache_is_fetched_from_the_remote(
    project: Project, first: str, target: Project
) -> None:
    shutil.rmtree(project.root / ".dvc" / "cache")
    assert versioning.fetch_into(project, first, target)
    assert versioning.observe(target, "rows").rows == 20


def test_damaged_cache_is_repaired_from_the_remote(project: Project, first: str, target: Project) -> None:
    damage(project.root / ".dvc" / "cache", flip)
    assert versioning.fetch_into(project, first, target)
    assert versioning.observe(target, "rows").rows == 20


def test_damage_in_cache_and_remote_is_reported(project: Project, first: str, target: Project) -> None:
    damage(project.root / ".dvc" / "cache", flip)
    damage(project.state / "dvc-remote", flip)
    with pytest.raises(Corrupt) as caught:
        versioning.fetch_into(project, first, target)
    assert caught.value.code == "dvc.object-damaged"


def test_fetch_returns_false_if_neither_cache_nor_remote_has_the_data(
    project: Project, first: str, target: Project
) -> None:
    for folder in (project.root / ".dvc" / "cache", project.state / "dvc-remote"):
        damage(folder, Path.unlink)
    assert not versioning.fetch_into(project, first, target)


@pytest.fixture
def stopped_by_signals() -> Iterator[None]:
    """Raise Interrupted on SIGTERM, as the command line does."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    yield
    assert signal.getsignal(signal.SIGTERM) is stop
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("stopped_by_signals")
@pytest.mark.parametrize("place", ["/data/rows/", "/.dvc/cache/"])
def test_signal_while_objects_are_copied_raises_interrupted(
    project: Project, first: str, target: Project, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "/.dvc/cache/":
        shutil.rmtree(project.root / ".dvc" / "cache")
    original, interrupted_at = generic._try_links, []

    def interrupted(links: list[str], from_fs: Any, from_path: str, to_fs: Any, to_path: str, **options: Any) -> None:
        if place in to_path and not interrupted_at:
            interrupted_at.append(to_path)
            os.kill(os.getpid(), signal.SIGTERM)
        original(links, from_fs, from_path, to_fs, to_path, **options)

    monkeypatch.setattr(generic, "_try_links", interrupted)
    with pytest.raises(Interrupted) as caught:
        versioning.fetch_into(project, first, target)
    assert caught.value.exit_code == 143
    assert interrupted_at
    shutil.rmtree(target.root)
    target.root.mkdir()
    target.make_private_folders()
    assert versioning.fetch_into(project, first, target)
    assert versioning.observe(target, "rows").rows == 20


def test_remotes_are_returned_without_passwords(project: Project) -> None:
    assert remotes(project) == ("local", {"local": "../.modelworks/dvc-remote"})
    (project.root / ".dvc" / "config").write_text(
        "[core]\n    remote = far\n['remote \"far\"']\n    url = s3://bucket/data\n"
        "['remote \"web\"']\n    url = https://me:hunter22@example.org/dvc?sig=abcdef\n"
    )
    (project.root / ".dvc" / "config.local").write_text("['remote \"far\"']\n    secret_access_key = hunter22\n")
    assert remotes(project) == ("far", {"far": "s3://bucket/data", "web": "https://example.org/dvc"})


def test_project_without_dvc_has_no_remotes(tmp_path: Path) -> None:
    assert remotes(Project(tmp_path)) == ("", {})

"""The pin of data/: how sources and a clone lead to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from data.versioning.versioned import DIGITS, REVIEWS, dvc, remote, write_reviews

from modelworks.data import versioning
from modelworks.data.dvc_storage import dvc_file, object_cache, repository
from modelworks.data.ingest import ingest, reason_to_work
from modelworks.data.sources import PINNED, Folder
from modelworks.errors import BadInput, Corrupt, Unavailable
from modelworks.project import Project

# DVC uses a deprecated class of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with the data sets of the committed data.dvc: the packaged sets."""
    root = tmp_path_factory.mktemp("packages")
    for source in PINNED:
        ingest(Project(root), source)
    return root


def clone(original: Path, target: Path) -> Project:
    """Copy the files that are committed to git."""
    (target / ".dvc").mkdir(parents=True)
    for name in ("data.dvc", ".dvc/config", ".dvcignore"):
        shutil.copy(original / name, target / name)
    return Project(target)


def test_clone_without_a_remote_builds_the_pinned_packaged_sets(packages: Path, tmp_path: Path) -> None:
    project = clone(packages, tmp_path / "clone")
    dataset, outcome = ingest(project, DIGITS)
    assert outcome == "ran"
    assert dataset.digest == versioning.observe(Project(packages), "digits").digest
    assert dvc_file.read(project) == dvc_file.read(Project(packages))
    assert sorted(path.name for path in project.data.iterdir()) == ["digits", "mnist5k", "tweets"]
    assert "are in sync" in dvc(project.root, "status", "--cloud")


def test_unknown_pin_is_reported(packages: Path, tmp_path: Path) -> None:
    project = clone(packages, tmp_path / "clone")
    path = project.root / "data.dvc"
    pin = dvc_file.read(project)
    assert pin is not None
    path.write_text(path.read_text().replace(pin, "0" * 32 + ".dir"))
    with pytest.raises(Corrupt, match=f"{'0' * 32}.dir") as caught:
        ingest(project, DIGITS)
    assert (caught.value.exit_code, caught.value.code) == (5, "data.pin-unavailable")
    assert not project.data.exists()


def test_pinned_user_data_is_built_from_its_source(tmp_path: Path) -> None:
    first = Project(tmp_path / "first")
    first.root.mkdir()
    write_reviews(first.root)
    dataset, _ = ingest(first, REVIEWS)
    second = clone(first.root, tmp_path / "second")
    write_reviews(second.root)
    assert ingest(second, REVIEWS)[0].digest == dataset.digest
    assert dvc_file.read(second) == dvc_file.read(first)


@pytest.mark.parametrize("content", ["", "outs: []", "outs: 3", "- {", "\0"])
def test_invalid_pin_file_is_reported(project: Project, content: str) -> None:
    (project.root / "data.dvc").write_text(content)
    with pytest.raises(Corrupt, match=r"data\.dvc") as caught:
        ingest(project, DIGITS)
    assert caught.value.code == "data.pin-damaged"


def test_changed_source_gives_a_new_version_of_its_data_set_only(project: Project) -> None:
    digits, reviews, pin = (
        versioning.observe(project, "digits"),
        versioning.observe(project, "reviews"),
        dvc_file.read(project),
    )
    write_reviews(project.root, rows=30)
    assert reason_to_work(project, REVIEWS) == "the source may have changed"
    changed, outcome = ingest(project, REVIEWS)
    assert outcome == "ran"
    assert (changed.rows, reviews.rows) == (30, 20)
    assert changed.digest != reviews.digest
    assert dvc_file.read(project) != pin
    assert reason_to_work(project, DIGITS) is None
    assert versioning.observe(project, "digits") == digits


def test_other_data_sets_stay_pinned_even_if_their_files_were_lost(project: Project) -> None:
    shutil.rmtree(project.data / "digits")
    write_reviews(project.root, rows=30)
    ingest(project, REVIEWS)
    assert dvc_file.files(project, "digits")
    assert reason_to_work(project, DIGITS) is None


def test_touched_source_gives_the_same_version(project: Project) -> None:
    pin = dvc_file.read(project)
    os.utime(project.root / "reviews.csv", (0, 0))
    assert reason_to_work(project, REVIEWS) is not None
    assert ingest(project, REVIEWS)[1] == "verified"
    assert dvc_file.read(project) == pin
    assert reason_to_work(project, REVIEWS) is None


def test_new_file_in_an_image_folder_gives_a_new_version(project: Project) -> None:
    pictures = project.root / "pictures"
    for name in ("cat", "dog"):
        (pictures / name).mkdir(parents=True)
        (pictures / name / "1.pgm").write_bytes(b"P5\n2 1\n255\n" + name[:2].encode())
    source = Folder(kind="folder", path="pictures")
    first, _ = ingest(project, source)
    (pictures / "cat" / "2.pgm").write_bytes(b"P5\n2 1\n255\nxy")
    second, outcome = ingest(project, source)
    assert (first.rows, second.rows, outcome) == (2, 3, "ran")
    assert first.digest != second.digest


def test_missing_source_is_named(project: Project) -> None:
    (project.root / "reviews.csv").unlink()
    with pytest.raises(BadInput, match=r"reviews\.csv") as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == "source.missing"


def test_unreadable_dvc_lock_is_reported_and_can_be_removed(project: Project) -> None:
    lock = project.root / ".dvc" / "tmp" / "rwlock"
    assert not repository.remove_unreadable_lock(project)
    lock.write_text('{"read": {')
    write_reviews(project.root, rows=30)
    with pytest.raises(Unavailable) as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == "dvc.failing"
    assert "doctor" in caught.value.hint
    assert repository.remove_unreadable_lock(project)
    assert not lock.exists()
    assert not repository.remove_unreadable_lock(project)
    assert ingest(project, REVIEWS)[1] == "ran"
    assert reason_to_work(project, REVIEWS) is None


def test_file_called_data_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(BadInput) as caught:
        ingest(Project(tmp_path), DIGITS)
    assert caught.value.code == "disk.path-taken"


KILLED = """
import os, signal, sys
from pathlib import Path
from modelworks.data.ingest import ingest
from modelworks.data.sources import Table
from modelworks.project import Project
import dvc.repo, pyarrow.csv, pyarrow.parquet, filelock, ruamel.yaml, grimp  # before counting file operations

source = Table(kind="table", path="reviews.csv", text="text", label="label")
operations = 0

def attempt(root, kill_at):
    def hook(event, arguments):
        global operations
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.link", "shutil.move", "shutil.rmtree"):
            operations += 1
            if operations >= kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    ingest(Project(root), source)

reading, writing = os.pipe()
copies = sorted(Path(sys.argv[1]).iterdir())
for index, copy in enumerate(copies):  # the first is not killed: it counts the operations
    child = os.fork()
    if child == 0:
        attempt(copy, float("inf") if index == 0 else total * index / len(copies))
        os.write(writing, str(operations).encode())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) == (index > 0)
    if index == 0:
        total = int(os.read(reading, 20))
print(total)
"""


def test_next_ingest_repairs_a_killed_one(project: Project, tmp_path: Path) -> None:
    write_reviews(project.root, rows=30)
    for index in range(8):
        shutil.copytree(project.root, tmp_path / "copies" / str(index))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "copies")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    assert int(done.stdout) > 50
    digests = set()
    for root in (tmp_path / "copies").iterdir():
        copy = Project(root)
        digests.add(ingest(copy, REVIEWS)[0].digest)
        pin = dvc_file.read(copy)
        assert pin is not None
        assert object_cache.complete(remote(copy) / "files" / "md5", pin), "the next run did not push"
        assert dvc_file.files(copy, "digits")
    assert len(digests) == 1

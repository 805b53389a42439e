"""Ingest with DVC: lost or damaged data is restored to its pin, or an error is raised."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from modelworks.data import versioning
from modelworks.data.dvc_storage import dvc_file, object_cache, repository
from modelworks.data.ingest import ingest, reason_to_work
from modelworks.data.sources import PINNED, Digits, Folder, Source, Table
from modelworks.errors import BadInput, Corrupt, Unavailable
from modelworks.project import Project

# DVC uses a deprecated class of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

DIGITS = Digits(kind="digits")
REVIEWS = Table(kind="table", path="reviews.csv", text="text", label="label")


def write_reviews(root: Path, rows: int = 20) -> None:
    lines = [f"review number {row},{'good' if row % 2 else 'bad'}" for row in range(rows)]
    (root / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with two data sets, pinned and pushed. Tests use copies."""
    root = tmp_path_factory.mktemp("ready")
    write_reviews(root)
    project = Project(root)
    assert ingest(project, DIGITS)[1] == "ran"
    assert ingest(project, REVIEWS)[1] == "ran"
    return root


@pytest.fixture
def project(ready: Path, tmp_path: Path) -> Project:
    shutil.copytree(ready, tmp_path / "project")
    return Project(tmp_path / "project")


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


def cache(project: Project) -> Path:
    return project.root / ".dvc" / "cache"


def remote(project: Project) -> Path:
    return project.state / "dvc-remote"


def dvc(root: Path, *arguments: str) -> str:
    program = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(program, cwd=root, capture_output=True, text=True, check=True, timeout=120).stdout


def flip(path: Path) -> None:
    """Change one byte and keep the size and the times."""
    status = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_unchanged_data_is_verified(project: Project) -> None:
    before = versioning.observe(project, "digits")
    assert reason_to_work(project, DIGITS) is None
    dataset, outcome = ingest(project, DIGITS)
    assert outcome == "verified"
    assert dataset == before
    assert (dataset.rows, dataset.modality, len(dataset.targets["label"]["classes"])) == (1797, "image", 10)


def test_verification_imports_no_large_library(project: Project) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from modelworks.project import Project; from modelworks.data.dvc_storage import object_cache\n"
        "from modelworks.data import versioning\n"
        "from modelworks.data.ingest import reason_to_work; from modelworks.data.sources import Digits\n"
        "from modelworks.pipeline.stage_store import StageStore; from modelworks.training.machine.detect import detect\n"
        "project = Project(Path(sys.argv[1]))\n"
        "assert reason_to_work(project, Digits(kind='digits')) is None\n"
        "versioning.observe(project, 'digits')\n"
        "heavy = {'torch', 'pandas', 'mlflow', 'dvc', 'pyarrow', 'numpy', 'great_expectations', 'prefect'}\n"
        "print(*heavy & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(project.root)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_dvc_status_is_clean_and_dvc_pull_works(project: Project) -> None:
    assert "up to date" in dvc(project.root, "status")
    assert "are in sync" in dvc(project.root, "status", "--cloud")
    shutil.rmtree(project.data)
    shutil.rmtree(cache(project))
    dvc(project.root, "pull")
    assert reason_to_work(project, DIGITS) is None


def test_data_set_digest_equals_dvcs_digest_of_its_folder(project: Project, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(project.data / "digits", alone / "digits")
    (alone / "digits" / "below").mkdir()
    (alone / "digits" / "below" / "ü.txt").write_text("x")
    (alone / "digits" / "below.txt").write_text("y")
    dvc(alone, "init", "--no-scm", "--quiet")
    dvc(alone, "add", "digits", "--quiet")
    added = YAML(typ="safe").load((alone / "digits.dvc").read_text())["outs"][0]["md5"]
    assert object_cache.listing_digest(object_cache.subtree(alone / "digits")) == added
    assert len(added) == 36


def delete_data(project: Project) -> None:
    shutil.rmtree(project.data)


def delete_one_data_set(project: Project) -> None:
    shutil.rmtree(project.data / "digits")


def flip_data(project: Project) -> None:
    flip(project.data / "digits" / "examples.parquet")


def delete_data_and_cache(project: Project) -> None:
    shutil.rmtree(project.data)
    shutil.rmtree(cache(project))


def damage_data_and_cache(project: Project) -> None:
    flip_data(project)
    for path in (cache(project) / "files" / "md5").glob("*/*"):
        flip(path)


def delete_data_and_an_object(project: Project) -> None:
    shutil.rmtree(project.data)
    next(path for path in (cache(project) / "files").rglob("*") if path.is_file() and path.suffix != ".dir").unlink()


def delete_data_cache_and_state(project: Project) -> None:
    delete_data_and_cache(project)
    shutil.rmtree(project.state / "ingest")


@pytest.mark.parametrize(
    "fault",
    [
        delete_data,
        delete_one_data_set,
        flip_data,
        delete_data_and_cache,
        damage_data_and_cache,
        delete_data_and_an_object,
        delete_data_cache_and_state,
    ],
)
def test_lost_or_damaged_data_is_restored(project: Project, fault: Callable[[Project], None]) -> None:
    before, pin = object_cache.subtree(project.data), dvc_file.read(project)
    fault(project)
    assert reason_to_work(project, DIGITS) is not None
    assert ingest(project, DIGITS)[1] == "ran"
    assert object_cache.subtree(project.data) == before
    assert dvc_file.read(project) == pin
    assert ingest(project, DIGITS)[1] == ingest(project, REVIEWS)[1] == "verified"


@pytest.mark.parametrize("place", ["notes.txt", "digits/notes.txt", "mine/deep/notes.txt"])
def test_unknown_file_in_data_is_never_deleted(project: Project, place: str) -> None:
    (notes := project.data / place).parent.mkdir(parents=True, exist_ok=True)
    notes.write_text("written nowhere else")
    flip_data(project)
    with pytest.raises(BadInput, match=str(notes)) as caught:
        ingest(project, DIGITS)
    assert caught.value.code == "data.unknown-file"
    assert "move it elsewhere" in caught.value.hint
    assert notes.read_text() == "written nowhere else"
    notes.rename(project.root / "notes.txt")
    assert ingest(project, DIGITS)[1] == "ran"


CHECKOUT = """
import os, signal, sys
from pathlib import Path
from modelworks.data.ingest import ingest
from modelworks.data.sources import Digits
from modelworks.project import Project

def hook(event, arguments):
    if event == "os.rename" and "/data/" in str(arguments[1]) and str(arguments[0]).endswith(".tmp"):
        os.truncate(arguments[0], 10)
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
ingest(Project(Path(sys.argv[1])), Digits(kind="digits"))
"""


def test_temporary_file_of_a_killed_checkout_is_removed(project: Project) -> None:
    before = object_cache.subtree(project.data)
    shutil.rmtree(project.data)
    done = subprocess.run([sys.executable, "-c", CHECKOUT, str(project.root)], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(project.data.rglob(".*.tmp"))
    assert ingest(project, DIGITS)[1] == "ran"
    assert object_cache.subtree(project.data) == before


def test_fetch_removes_a_cached_file_that_the_pin_lacks(project: Project) -> None:
    earlier, before = (project.root / "data.dvc").read_text(), object_cache.subtree(project.data)
    (project.data / "extra").mkdir()
    (project.data / "extra" / "notes.txt").write_text("DVC has them")
    versioning.record(project)
    later = (project.root / "data.dvc").read_text()
    (project.root / "data.dvc").write_text(earlier)
    assert versioning.fetch(project)
    assert object_cache.subtree(project.data) == before
    (project.root / "data.dvc").write_text(later)
    assert versioning.fetch(project)
    assert (project.data / "extra" / "notes.txt").read_text() == "DVC has them"


def test_unknown_file_in_the_folder_of_a_new_data_set_is_not_deleted(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    project = Project(tmp_path)
    (notes := project.data / "reviews" / "notes.txt").parent.mkdir(parents=True)
    notes.write_text("written nowhere else")
    with pytest.raises(BadInput, match=str(notes)) as caught:
        ingest(project, REVIEWS)
    assert caught.value.code == "data.unknown-file"
    assert notes.read_text() == "written nowhere else"


@pytest.mark.parametrize(
    "source",
    [
        Table(kind="table", path="data/reviews.csv", text="text", label="label"),
        Folder(kind="folder", path="data/../data/leaves"),
    ],
)
def test_source_in_data_is_rejected_and_not_changed(project: Project, source: Source) -> None:
    write_reviews(project.data)
    with pytest.raises(BadInput, match=r"source\.path: ") as caught:
        ingest(project, source)
    assert caught.value.code == "source.inside-data"
    assert (project.data / "reviews.csv").is_file()


@pytest.mark.parametrize("remote_too", [False, True])
def test_lost_cache_is_filled_from_data(project: Project, remote_too: bool) -> None:
    shutil.rmtree(cache(project))
    if remote_too:
        shutil.rmtree(remote(project))
    assert ingest(project, DIGITS)[1] == "verified"
    assert "are in sync" in dvc(project.root, "status", "--cloud")
    shutil.rmtree(project.data)
    shutil.rmtree(cache(project))
    assert ingest(project, REVIEWS)[1] == "ran"


@pytest.mark.parametrize("listing", [False, True])
def test_damaged_object_of_the_remote_is_named(project: Project, listing: bool) -> None:
    delete_data_and_cache(project)
    objects = sorted(path for path in (remote(project) / "files").rglob("*") if path.is_file())
    pin = dvc_file.read(project)
    current = next(path for path in objects if path.parent.name + path.name == pin)
    entry = json.loads(current.read_text())[0]["md5"]
    damaged = current if listing else next(path for path in objects if path.parent.name + path.name == entry)
    flip(damaged)
    with pytest.raises(Corrupt, match=str(damaged)) as caught:
        ingest(project, REVIEWS)
    assert (caught.value.exit_code, caught.value.code) == (5, "dvc.object-damaged")
    damaged.unlink()  # as the hint suggests
    assert ingest(project, REVIEWS)[1] == "ran"
    assert dvc_file.read(project) == pin


def test_missing_remote_folder_is_reported_and_not_created(project: Project, tmp_path: Path) -> None:
    config = project.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("../.modelworks/dvc-remote", str(tmp_path / "mount" / "remote")))
    delete_data_and_cache(project)
    with pytest.raises(Unavailable) as caught:
        ingest(project, DIGITS)
    assert caught.value.code == "dvc.remote-missing"
    assert not (tmp_path / "mount").exists()


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

"""Files in data/ that modelworks did not write are never deleted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from data.versioning.flips import flip_data
from data.versioning.versioned import DIGITS, REVIEWS, write_reviews

from modelworks.data import versioning
from modelworks.data.dvc_storage import object_cache
from modelworks.data.ingest import ingest
from modelworks.data.sources import Folder, Source, Table
from modelworks.errors import BadInput
from modelworks.project import Project

# DVC uses a deprecated class of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")


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

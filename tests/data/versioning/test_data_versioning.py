"""Ingest with DVC: lost or damaged data is restored to its pin, or an error is raised."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from data.versioning.flips import flip, flip_data
from data.versioning.versioned import DIGITS, REVIEWS, dvc, remote
from ruamel.yaml import YAML

from modelworks.data import versioning
from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.data.ingest import ingest, reason_to_work
from modelworks.errors import Corrupt, Unavailable
from modelworks.project import Project

# DVC uses a deprecated class of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")


def cache(project: Project) -> Path:
    return project.root / ".dvc" / "cache"


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

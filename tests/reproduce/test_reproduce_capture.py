"""The captured provenance matches code, data and libraries, and contains no secret."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pipelines.clones import commit, git, other_version
from samples.runs import DATASET

from modelworks import git as git_module
from modelworks.data.dvc_storage import object_cache
from modelworks.errors import Overtaken
from modelworks.project import Project
from modelworks.reproduce import capture


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that `code_root` returns."""
    (tmp_path / "src" / "modelworks").mkdir(parents=True)
    (tmp_path / "src" / "modelworks" / "one.py").write_text("ONE = 1\n")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "First")
    monkeypatch.setattr(git_module, "code_root", lambda: tmp_path)
    return tmp_path


def test_clean_code_is_recorded_by_its_commit(root: Path) -> None:
    code = capture._code(root)
    assert (code.commit, code.patch, code.missing) == (git(root, "rev-parse", "HEAD"), "", "")


def test_changed_code_is_recorded_by_commit_and_patch(root: Path) -> None:
    (root / "src" / "modelworks" / "one.py").write_text("ONE = 2\n")
    code = capture._code(root)
    assert "+ONE = 2" in code.patch
    assert not code.missing


def test_patch_above_the_limit_is_not_stored_and_reported(root: Path) -> None:
    (root / "src" / "modelworks" / "large.py").write_text("# " + "x" * capture.LARGEST_PATCH)
    code = capture._code(root)
    assert code.patch == ""
    assert "1,000,000" in code.missing


def test_patch_with_a_password_is_not_stored_and_reported(root: Path) -> None:
    (root / "src" / "modelworks" / "one.py").write_text("STORE = 'postgresql://me:canary-77@db.example.org/m'\n")
    code = capture._code(root)
    assert code.patch == ""
    assert "password" in code.missing
    assert "canary" not in code.missing


def test_code_edited_during_the_run_is_reported(root: Path) -> None:
    (root / "src" / "modelworks" / "one.py").write_text("ONE = 2\n")
    code = capture._code(root, ["modelworks.one"])
    assert code.patch == ""
    assert "modelworks.one" in code.missing


def test_changed_pin_is_rejected(project: Project) -> None:
    first, second = (pinned(project, content) for content in (b"first", b"second"))
    assert capture._pin(project, replace(DATASET, digest=second)).pin == (project.root / "data.dvc").read_text()
    with pytest.raises(Overtaken) as caught:
        capture._pin(project, replace(DATASET, digest=first))
    assert caught.value.code == "data.changed"


def pinned(project: Project, content: bytes) -> str:
    """Pin data with one file as DVC does; return the digest of its data set."""
    files = {"examples.parquet": hashlib.md5(content).hexdigest()}
    listing = json.dumps([{"md5": md5, "relpath": f"digits/{name}"} for name, md5 in files.items()])
    pin = hashlib.md5(listing.encode()).hexdigest() + ".dir"
    place = object_cache.cache(project) / pin[:2] / pin[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(listing)
    (project.root / "data.dvc").write_text(f"outs:\n- md5: {pin}\n  path: data\n")
    return object_cache.listing_digest(files)


def test_code_outside_git_is_reported() -> None:
    code = capture._code(None)
    assert code.commit == ""
    assert "not in a git repository" in code.missing


def test_installed_libraries_follow_the_import_path(tmp_path: Path) -> None:
    found = capture.installed()
    assert found["great-expectations"] == importlib.metadata.version("great_expectations")
    other_version(tmp_path, "ftfy", "99.0")
    program = "from modelworks.reproduce.capture import installed; print(installed()['ftfy'])"
    result = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "99.0"

"""What a record says of code and libraries is what is there, and holds no secret."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from clones import commit, git, other_version

from modelworks import git as asked
from modelworks.rebuild import observe


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that the code is said to run from."""
    (tmp_path / "src" / "modelworks").mkdir(parents=True)
    (tmp_path / "src" / "modelworks" / "one.py").write_text("ONE = 1\n")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "First")
    monkeypatch.setattr(asked, "code_root", lambda: tmp_path)
    return tmp_path


def test_clean_code_is_its_commit(root: Path) -> None:
    code = observe._code(root)
    assert (code.commit, code.patch, code.missing) == (git(root, "rev-parse", "HEAD"), "", "")


def test_changed_code_is_its_commit_and_a_patch(root: Path) -> None:
    (root / "src" / "modelworks" / "one.py").write_text("ONE = 2\n")
    code = observe._code(root)
    assert "+ONE = 2" in code.patch
    assert not code.missing


def test_changes_that_are_too_large_are_not_kept_and_that_is_said(root: Path) -> None:
    (root / "src" / "modelworks" / "large.py").write_text("# " + "x" * observe.LARGEST_PATCH)
    code = observe._code(root)
    assert code.patch == ""
    assert "at most 1,000,000 are kept" in code.missing


def test_changes_with_a_password_are_not_kept_and_that_is_said(root: Path) -> None:
    (root / "src" / "modelworks" / "one.py").write_text("STORE = 'postgresql://me:canary-77@db.example.org/m'\n")
    code = observe._code(root)
    assert code.patch == ""
    assert "password" in code.missing
    assert "canary" not in code.missing


def test_outside_git_that_is_said() -> None:
    code = observe._code(None)
    assert code.commit == ""
    assert "not in a git repository" in code.missing


def test_the_installed_libraries_are_those_that_would_be_imported(tmp_path: Path) -> None:
    found = observe.installed()
    assert found["great-expectations"] == importlib.metadata.version("great_expectations")
    other_version(tmp_path, "ftfy", "99.0")
    program = "from modelworks.rebuild.observe import installed; print(installed()['ftfy'])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "99.0"

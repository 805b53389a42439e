"""Uncommitted changes are recorded as a patch, and any commit can be checked out into a worktree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pipelines.clones import commit, git

from modelworks import git as library
from modelworks.errors import Unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project in a subfolder of a repository."""
    root = tmp_path / "repository" / "works"
    (root / "src" / "modelworks").mkdir(parents=True)
    (root / "flows").mkdir()
    (root / "src" / "modelworks" / "one.py").write_text("ONE = 1\n")
    (root / "flows" / "gone.py").write_text("")
    (root / "configs").mkdir()
    (root / "configs" / "a.yaml").write_text("name: a\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root.parent, "init", "--quiet")
    commit(root.parent, "First")
    return root


def change(root: Path) -> None:
    """Make changes of every kind: edited, new, binary, deleted, ignored, and outside the pipeline's code."""
    (root / "src" / "modelworks" / "one.py").write_text("ONE = 1.5  # é\n")
    (root / "configs" / "new.yaml").write_text("name: new\n")
    (root / "flows" / "table.bin").write_bytes(bytes(range(256)))
    (root / "flows" / "latin.py").write_bytes("# h\xe9\n".encode("latin-1"))
    (root / "flows" / "gone.py").unlink()
    (root / "src" / "run.log").write_text("noise")
    (root / "notes.txt").write_text("not part of it")


def test_clean_clone_has_no_changes(root: Path) -> None:
    assert library.changes(root) == b""
    assert library.place_below(root) == "works/"


def test_patched_worktree_equals_the_changed_code(root: Path, tmp_path: Path) -> None:
    head = library.commit(root)
    change(root)
    (root / "src" / "modelworks" / "staged.py").write_text("")
    git(root, "add", "src/modelworks/staged.py")
    status = git(root, "status", "--porcelain")
    objects = git(root, "count-objects")

    patch = library.changes(root)

    assert git(root, "status", "--porcelain") == status  # the user's index did not change
    assert git(root, "count-objects") == objects
    with library.worktree(root, head, patch, tmp_path / "copy"):
        copy = tmp_path / "copy" / "works"
        for name in (
            "src/modelworks/one.py",
            "configs/new.yaml",
            "flows/table.bin",
            "flows/latin.py",
            "configs/a.yaml",
        ):
            assert (copy / name).read_bytes() == (root / name).read_bytes()
        assert (copy / "src" / "modelworks" / "staged.py").exists()
        for name in ("flows/gone.py", "src/run.log", "notes.txt"):
            assert not (copy / name).exists()
    assert not (tmp_path / "copy").exists()
    assert len(git(root, "worktree", "list").splitlines()) == 1


def test_patch_does_not_depend_on_the_users_settings(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(root)
    plain = library.changes(root)
    for name, value in (("diff.noprefix", "true"), ("color.diff", "always"), ("diff.mnemonicPrefix", "true")):
        git(root, "config", name, value)
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")  # as inside a hook
    assert library.changes(root) == plain


def test_worktree_runs_no_hook_of_the_user(root: Path, tmp_path: Path) -> None:
    hook = root.parent / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with library.worktree(root, library.commit(root), b"", tmp_path / "copy"):
        pass
    assert not (tmp_path / "ran").exists()


def test_missing_commit_is_reported(root: Path, tmp_path: Path) -> None:
    assert library.has_commit(root, library.commit(root))
    missing = "1" * 40
    assert not library.has_commit(root, missing)
    with pytest.raises(Unavailable) as caught, library.worktree(root, missing, b"", tmp_path / "copy"):
        pytest.fail("a missing commit was checked out")
    assert caught.value.code == "git.checkout"


def test_commit_is_empty_outside_git(tmp_path: Path) -> None:
    assert library.commit(tmp_path) == ""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert library.commit(tmp_path) == ""  # also before the first commit

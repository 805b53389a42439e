"""The code's repository: what was changed since a commit is kept as a patch, and any commit can be had clean."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from clones import commit, git

from modelworks import git as asked
from modelworks.errors import Unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the project in a folder of it."""
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
    """Of every kind: edited, new, binary, deleted, ignored, and outside what a pipeline is made of."""
    (root / "src" / "modelworks" / "one.py").write_text("ONE = 1.5  # é\n")
    (root / "configs" / "new.yaml").write_text("name: new\n")
    (root / "flows" / "table.bin").write_bytes(bytes(range(256)))
    (root / "flows" / "latin.py").write_bytes("# h\xe9\n".encode("latin-1"))
    (root / "flows" / "gone.py").unlink()
    (root / "src" / "run.log").write_text("noise")
    (root / "notes.txt").write_text("not part of it")


def test_a_clean_clone_has_no_changes(root: Path) -> None:
    assert asked.changes(root) == b""
    assert asked.place_below(root) == "works/"


def test_a_patched_worktree_is_the_code_that_was_there(root: Path, tmp_path: Path) -> None:
    head = asked.commit(root)
    change(root)
    (root / "src" / "modelworks" / "staged.py").write_text("")
    git(root, "add", "src/modelworks/staged.py")
    status = git(root, "status", "--porcelain")
    objects = git(root, "count-objects")

    patch = asked.changes(root)

    assert git(root, "status", "--porcelain") == status  # the user's index is as it was
    assert git(root, "count-objects") == objects
    with asked.worktree(root, head, patch, tmp_path / "copy"):
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


def test_a_patch_does_not_depend_on_the_users_settings(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(root)
    plain = asked.changes(root)
    for name, value in (("diff.noprefix", "true"), ("color.diff", "always"), ("diff.mnemonicPrefix", "true")):
        git(root, "config", name, value)
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")  # as inside a hook
    assert asked.changes(root) == plain


def test_no_hook_of_the_user_runs_for_a_worktree(root: Path, tmp_path: Path) -> None:
    hook = root.parent / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with asked.worktree(root, asked.commit(root), b"", tmp_path / "copy"):
        pass
    assert not (tmp_path / "ran").exists()


def test_a_commit_that_is_not_here_is_known_not_to_be(root: Path, tmp_path: Path) -> None:
    assert asked.has_commit(root, asked.commit(root))
    missing = "1" * 40
    assert not asked.has_commit(root, missing)
    with pytest.raises(Unavailable, match="cannot check out"), asked.worktree(root, missing, b"", tmp_path / "copy"):
        pytest.fail("there is nothing to check out")


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    assert asked.commit(tmp_path) == ""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert asked.commit(tmp_path) == ""  # nor before the first one

"""The repository that the code is in: its commit, what was changed since, and a clean copy of any commit.

Git is asked as a program, and never told to change the user's branch, index or files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import ModelworksError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["changes", "code_root", "commit", "has_commit", "is_changed", "place_below", "worktree"]

CODE = ("src", "flows", "tasks", "configs", "pyproject.toml", "requirements.lock")
"""What a pipeline is made of, below the root of the code; its data are pinned apart."""
SECONDS = 60


def code_root() -> Path | None:
    """The clone whose code is running; None when what is running is not what some commit of a repository has."""
    package = Path(__file__).resolve().parent
    root = package.parents[1]
    if package.parent.name != "src" or not (root / "flows").is_dir():
        return None
    try:
        _git(root, "rev-parse", "--verify", "HEAD")
        _git(root, "ls-files", "--error-unmatch", "src/modelworks/__init__.py")
    except (OSError, subprocess.SubprocessError):
        return None
    return root


def commit(root: Path) -> str:
    """The commit that a folder stands on; empty outside git and before the first one."""
    try:
        return _git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def is_changed(root: Path) -> bool:
    """Whether any tracked file differs from the commit."""
    return bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def place_below(root: Path) -> str:
    """Where in its repository a folder is: empty, or a path that ends with a slash."""
    return _git(root, "rev-parse", "--show-prefix").decode().strip()


def changes(root: Path) -> bytes:
    """What makes the commit of the code into the code that is there, as a patch; new files that git does not ignore too."""
    paths = [name for name in CODE if (root / name).exists()]
    if not _git(root, "status", "--porcelain", "--untracked-files=all", "--", *paths):
        return b""
    with tempfile.TemporaryDirectory() as name:
        # An index and a store of objects of its own: the user's are not touched.
        objects = (root / _git(root, "rev-parse", "--git-path", "objects").decode().strip()).resolve()
        aside = {
            "GIT_INDEX_FILE": f"{name}/index",
            "GIT_OBJECT_DIRECTORY": name,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        _git(root, "read-tree", "HEAD", environment=aside)
        _git(root, "add", "--all", "--", *paths, environment=aside)
        form = ("--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
        sides = ("--src-prefix=a/", "--dst-prefix=b/")
        return _git(root, "diff", "--cached", *form, *sides, "HEAD", "--", *paths, environment=aside)


def has_commit(root: Path, name: str) -> bool:
    """Whether a clone has a commit."""
    try:
        _git(root, "cat-file", "-e", f"{name}^{{commit}}")
    except subprocess.SubprocessError:
        return False
    return True


@contextmanager
def worktree(root: Path, name: str, patch: bytes, folder: Path) -> Iterator[None]:
    """A checkout of a commit in a new folder, patched; it goes when the block ends.

    Raises:
        Unavailable: git cannot make it.
    """
    try:
        # No hook of the user's is for us.
        _git(root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", str(folder), name)
        try:
            if patch:
                _git(folder, "apply", "--whitespace=nowarn", "-", given=patch)
        except subprocess.CalledProcessError as error:
            raise ModelworksError(
                f"the patch kept with the version does not apply: {_words(error)}", code="git.patch"
            ) from error
        yield
    except subprocess.CalledProcessError as error:
        raise Unavailable(
            f"git cannot check out {name}: {_words(error)}", "see git worktree list", code="git.checkout"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _git(root, "worktree", "prune")


def _words(error: subprocess.CalledProcessError) -> str:
    return " ".join(error.stderr.decode(errors="replace").split())[-300:]


def _git(root: Path, *arguments: str, environment: Mapping[str, str] | None = None, given: bytes = b"") -> bytes:
    # Optional locks off: looking must not fight with the user's own git commands.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    # What a hook that started us would have us look at is not meant.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        command,
        input=given,
        capture_output=True,
        check=True,
        timeout=SECONDS,
        env={**inherited, **(environment or {})},
    )
    return done.stdout

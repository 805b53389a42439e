"""Read the code's git repository: commit, uncommitted changes, and a worktree of any commit.

Git runs as a subprocess and never changes the user's branch, index or files.
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
"""The files that define a pipeline, relative to the code root. Data are pinned separately."""
SECONDS = 60


def code_root() -> Path | None:
    """Return the root of the clone that this code runs from; None if it is not tracked by git."""
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
    """Return the HEAD commit; empty outside git and before the first commit."""
    try:
        return _git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def is_changed(root: Path) -> bool:
    """Return whether any tracked file differs from HEAD."""
    return bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def place_below(root: Path) -> str:
    """Return a folder's path within its repository: empty, or ending with a slash."""
    return _git(root, "rev-parse", "--show-prefix").decode().strip()


def changes(root: Path) -> bytes:
    """Return the uncommitted changes of the code as a patch, including untracked files."""
    paths = [name for name in CODE if (root / name).exists()]
    if not _git(root, "status", "--porcelain", "--untracked-files=all", "--", *paths):
        return b""
    with tempfile.TemporaryDirectory() as name:
        # A temporary index and object directory: the user's are not changed.
        objects = (root / _git(root, "rev-parse", "--git-path", "objects").decode().strip()).resolve()
        temporary = {
            "GIT_INDEX_FILE": f"{name}/index",
            "GIT_OBJECT_DIRECTORY": name,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        _git(root, "read-tree", "HEAD", environment=temporary)
        _git(root, "add", "--all", "--", *paths, environment=temporary)
        form = ("--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
        sides = ("--src-prefix=a/", "--dst-prefix=b/")
        return _git(root, "diff", "--cached", *form, *sides, "HEAD", "--", *paths, environment=temporary)


def has_commit(root: Path, name: str) -> bool:
    """Return whether a clone has a commit."""
    try:
        _git(root, "cat-file", "-e", f"{name}^{{commit}}")
    except subprocess.SubprocessError:
        return False
    return True


@contextmanager
def worktree(root: Path, name: str, patch: bytes, folder: Path) -> Iterator[None]:
    """Check out a commit in a new folder and apply a patch; remove the folder after the block.

    Raises:
        Unavailable: git cannot check it out.
    """
    try:
        # The user's hooks must not run.
        _git(root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", str(folder), name)
        try:
            if patch:
                _git(folder, "apply", "--whitespace=nowarn", "-", stdin=patch)
        except subprocess.CalledProcessError as error:
            raise ModelworksError(
                f"the patch kept with the version does not apply: {_stderr(error)}", code="git.patch"
            ) from error
        yield
    except subprocess.CalledProcessError as error:
        raise Unavailable(
            f"git cannot check out {name}: {_stderr(error)}", "see git worktree list", code="git.checkout"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _git(root, "worktree", "prune")


def _stderr(error: subprocess.CalledProcessError) -> str:
    return " ".join(error.stderr.decode(errors="replace").split())[-300:]


def _git(root: Path, *arguments: str, environment: Mapping[str, str] | None = None, stdin: bytes = b"") -> bytes:
    # No optional locks: they would block the user's own git commands.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    # A git hook that started this process sets GIT_DIR and others.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    result = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=True,
        timeout=SECONDS,
        env={**inherited, **(environment or {})},
    )
    return result.stdout

"""Create a git repository with this checkout's code for tests, and copies of libraries with other versions."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["commit", "git", "make_clone", "other_version", "running_from"]

REPOSITORY = Path(__file__).parents[2]
CODE = ("src", "flows", "tasks", "configs", "pyproject.toml", "requirements.lock", ".gitignore")


def make_clone(root: Path) -> None:
    """Copy the current code to a folder and commit it to a new repository."""
    root.mkdir(parents=True, exist_ok=True)
    for name in CODE:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(
                REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        else:
            shutil.copy(REPOSITORY / name, root / name)
    git(root, "init", "--quiet")
    commit(root, "Current code")


def commit(root: Path, message: str) -> str:
    """Commit everything that is not ignored; return the commit."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD")


def git(root: Path, *arguments: str) -> str:
    """Run git without the user's settings and return its output."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "Test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }
    done = subprocess.run(["git", "-C", root, *arguments], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def running_from(root: Path, environment: Mapping[str, str], *before: Path) -> dict[str, str]:
    """Return an environment that runs a clone's code.

    Libraries in the folders `before` come first.
    """
    return {**environment, "PYTHONPATH": os.pathsep.join(str(each) for each in (*before, root / "src", root))}


def other_version(folder: Path, library: str, version: str, addition: str = "", file: str = "") -> Path:
    """Copy an installed library to a folder with another version number, optionally with code added to a file."""
    distribution = importlib.metadata.distribution(library)
    installed = Path(str(distribution.locate_file("")))
    name = library.replace("-", "_")
    shutil.copytree(installed / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    dist_info = folder / f"{name}-{version}.dist-info"
    shutil.copytree(installed / f"{name}-{distribution.version}.dist-info", dist_info)
    metadata = dist_info / "METADATA"
    old, new = f"\nVersion: {distribution.version}\n", f"\nVersion: {version}\n"
    metadata.write_text(metadata.read_text().replace(old, new))
    if addition:
        changed = folder / name / file
        changed.write_text(changed.read_text() + addition)
    return folder

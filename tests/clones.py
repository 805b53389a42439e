"""A git clone of this checkout's code, to be changed and committed at will, and libraries at other versions beside it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["commit", "git", "make_clone", "other_version", "running_from"]

REPOSITORY = Path(__file__).parents[1]
CODE = ("src", "flows", "tasks", "configs", "pyproject.toml", "requirements.lock", ".gitignore")


def make_clone(root: Path) -> None:
    """Fill a folder with the code as it stands, in a repository with one commit."""
    root.mkdir(parents=True, exist_ok=True)
    for name in CODE:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(
                REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        else:
            shutil.copy(REPOSITORY / name, root / name)
    git(root, "init", "--quiet")
    commit(root, "The code as it stands")


def commit(root: Path, message: str) -> str:
    """Commit everything that is not ignored; returns the commit."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD")


def git(root: Path, *arguments: str) -> str:
    """What git answers, as somebody without settings of their own."""
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
    """The environment in which the commands are a clone's own; libraries in the folders `before` come first."""
    return {**environment, "PYTHONPATH": os.pathsep.join(str(each) for each in (*before, root / "src", root))}


def other_version(folder: Path, library: str, version: str, addition: str = "", file: str = "") -> Path:
    """A copy of an installed library in a folder, released under another version, maybe with code added to a file."""
    distribution = importlib.metadata.distribution(library)
    place = Path(str(distribution.locate_file("")))
    name = library.replace("-", "_")
    shutil.copytree(place / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = folder / f"{name}-{version}.dist-info"
    shutil.copytree(place / f"{name}-{distribution.version}.dist-info", metadata)
    told = metadata / "METADATA"
    told.write_text(told.read_text().replace(f"\nVersion: {distribution.version}\n", f"\nVersion: {version}\n"))
    if addition:
        changed = folder / name / file
        changed.write_text(changed.read_text() + addition)
    return folder

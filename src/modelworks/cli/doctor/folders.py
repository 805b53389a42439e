"""Check files and folders for stale locks, leftovers of killed runs and damaged outputs."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from modelworks.cli.doctor.finding import Finding, ok, repairable
from modelworks.data.dvc_storage import object_cache
from modelworks.data.dvc_storage.repository import remove_unreadable_lock, unreadable_lock
from modelworks.files.digest_memo import DigestMemo
from modelworks.files.locks import locked
from modelworks.pipeline.stage_store import GRACE_SECONDS, StageStore
from modelworks.project import Project

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Check the state folder and the folders of the tracking store and of DVC."""
    if unreadable_lock(project):
        yield repairable(
            "DVC's lock",
            "its file is unreadable, which blocks DVC",
            lambda: "removed" if remove_unreadable_lock(project) else "already gone",
        )
    else:
        yield ok("DVC's lock", "readable")
    yield _paths("notes of dead runs", _stale_holders(project), _remove_file)
    yield _paths("leftovers of killed runs", _leftovers(project), _remove_folder)
    yield _paths("half-made databases", _half_made(project), lambda path: _remove_unfinished(path, project))
    yield _paths("stage outputs", _damaged(project.stages), _remove_folder, "the next run makes them again")
    yield _paths("pages", _damaged(project.state / "reports"), _remove_folder, "the next run renders them")
    yield _paths("decoded rows", _damaged(project.state, "decoded"), _remove_folder, "the next training makes them")
    yield _paths("half-brought data", _temporary(project.state, ".ingest-*"), _locked(project.locks / "data.lock"))
    yield _paths(
        "half-fetched versions",
        _temporary(project.state / "versions", ".fetch-*"),
        _locked(project.locks / "versions.lock"),
    )
    yield _paths("half-written objects", _half_written(project), _locked(project.locks / "data.lock", _remove_file))


def _paths(what: str, found: Sequence[Path], remove: Callable[[Path], object], then: str = "") -> Finding:
    if not found:
        return ok(what, "nothing to repair")

    def repair() -> str:
        for path in found:
            remove(path)
        return f"{len(found)} removed" + (f": {then}" if then else "")

    return repairable(what, f"{len(found)} to remove, e.g. {found[0].name}", repair)


def _stale_holders(project: Project) -> list[Path]:
    """Return the `.holder` files beside locks that killed runs left.

    The locks themselves are free.
    """
    import psutil

    found = []
    for path in sorted(project.locks.glob("*.holder")):
        with suppress(FileNotFoundError):  # the run ended meanwhile
            named = re.search(r"pid (\d+) on (\S+)", path.read_text(errors="replace"))
            if named is None or (named[2] == socket.gethostname() and not psutil.pid_exists(int(named[1]))):
                found.append(path)
    return found


def _leftovers(project: Project) -> list[Path]:
    folders = [StageStore(project.stages), StageStore(project.state)]
    return [*folders[0].leftovers(), *folders[1].leftovers("decoded")]


def _half_made(project: Project) -> list[Path]:
    """Return temporary directories of database creation; a running one holds the lock."""
    return [
        path
        for home, name in ((project.mlflow, "mlflow.db"), (project.prefect_home, "prefect.db"))
        for path in sorted(home.glob(f".{name}-*"))
        if path.is_dir()
    ]


def _remove_unfinished(path: Path, project: Project) -> None:
    name = path.name[1:].partition("-")[0]
    with locked(path.with_name(f"{name}.lock"), f"clearing up after {name}"):
        _remove_folder(path)


def _damaged(root: Path, only: str = "[!.]*") -> list[Path]:
    """Return outputs that differ from their manifests; unchanged files are not read again."""
    store, memo = StageStore(root), DigestMemo(root, keep=False)
    return [
        folder
        for stage in sorted(root.glob(only))
        for folder in sorted(stage.glob("[!.]*"))
        if folder.is_dir() and store.state(stage.name, folder.name, memo.digest) == "damaged"
    ]


def _temporary(folder: Path, pattern: str) -> list[Path]:
    """Return the temporary directories of killed processes."""
    return sorted(folder.glob(pattern))


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _remove_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def _half_written(project: Project) -> list[Path]:
    """Return unfinished files in DVC's cache, except those that were modified recently."""
    found = []
    for path in sorted(object_cache.cache(project).rglob("*.tmp")):
        with suppress(FileNotFoundError):  # renamed meanwhile
            if path.stat().st_mtime < time.time() - GRACE_SECONDS:
                found.append(path)
    return found


def _locked(lock: Path, remove: Callable[[Path], None] = _remove_folder) -> Callable[[Path], None]:
    """Return a function that removes a path while holding the lock of its writers."""

    def remove_locked(path: Path) -> None:
        with locked(lock, "clearing up"):
            remove(path)

    return remove_locked

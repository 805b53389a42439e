"""Ingest: a source becomes `data/<name>/`, pinned by DVC; what already stands is verified, not trusted."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelworks.data import packed, versions
from modelworks.data.sources import PINNED, Source
from modelworks.errors import Corrupt, Unavailable
from modelworks.store import disk_errors, write_json

if TYPE_CHECKING:
    from modelworks.project import Project
    from modelworks.records import DatasetVersion

__all__ = ["ingest", "reason_to_work"]


def ingest(project: Project, source: Source) -> tuple[DatasetVersion, Literal["ran", "verified"]]:
    """The data set of a source, as it is now, and whether anything had to be done for that.

    Raises:
        BadInput: the source cannot be read.
        Corrupt: the data built on this machine is not what data.dvc pins.
        Unavailable: the data cannot be fetched, or another process is at it.
    """
    with disk_errors(project.data), _lock(project):
        reason = reason_to_work(project, source)
        if reason is None:
            return versions.observe(project, source.dataset), "verified"
        worked = _bring(project, source)
        _remember(project, source)
        return versions.observe(project, source.dataset), "ran" if worked else "verified"


def reason_to_work(project: Project, source: Source) -> str | None:
    """Why the data set must be looked at more closely than by its digests; None when all is as it was."""
    folder = project.data / source.dataset
    fingerprint = source.fingerprint(project.root)
    if not folder.is_dir():
        return f"data/{source.dataset} is not there"
    pinned = versions.pinned_files(project, source.dataset)
    if pinned is None:
        return "DVC's cache does not hold what data.dvc pins"
    if pinned != versions.subtree(folder):
        return f"data/{source.dataset} is not what data.dvc pins"
    if _remembered(project, source) != {"source": _settings(source), "fingerprint": fingerprint, "code": _code(source)}:
        return "the source may have changed"
    return None


def _bring(project: Project, source: Source) -> bool:
    """Fetch, restore or build; True when data/ or its pin changed."""
    pinned = versions.pinned_files(project, source.dataset)
    worked = False
    if pinned is None and versions.pin(project) is not None:
        _fetch(project)
        pinned = versions.pinned_files(project, source.dataset)
        worked = True
    folder = project.data / source.dataset
    if pinned and (not folder.is_dir() or versions.subtree(folder) != pinned):
        versions.restore(project)
        worked = True
    with tempfile.TemporaryDirectory(prefix=".ingest-", dir=project.state) as name:
        built = Path(name) / source.dataset
        _build(project, source, built)
        if folder.is_dir() and versions.subtree(folder) == versions.subtree(built) == pinned:
            return worked
        _replace(folder, built)
    versions.record(project)
    return True


def _fetch(project: Project) -> None:
    """Bring data/ to its pin: from the remote, or built from the packages and compared with the pin.

    Raises:
        Corrupt: what the packages give is not what the pin says.
    """
    if versions.pull(project):
        return
    with tempfile.TemporaryDirectory(prefix=".ingest-", dir=project.state) as name:
        for source in PINNED:
            _build(project, source, Path(name) / source.dataset)
        found = versions.listing_digest(versions.subtree(Path(name)))
        expected = versions.pin(project)
        if found != expected:
            raise Corrupt(
                f"data.dvc pins {expected}; no remote has it, and the packages of this machine give {found}",
                "run `dvc pull` from a remote that has it, or `git checkout data.dvc` if the pin was edited",
            )
        for source in PINNED:
            _replace(project.data / source.dataset, Path(name) / source.dataset)
    versions.record(project)


def _build(project: Project, source: Source, folder: Path) -> None:
    folder.mkdir(parents=True)
    packed.write(folder, source.dataset, _settings(source), source.read(project.root))


def _replace(folder: Path, built: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(built, folder)


def _settings(source: Source) -> dict[str, Any]:
    assert dataclasses.is_dataclass(source) and not isinstance(source, type)
    return dataclasses.asdict(source)


def _code(source: Source) -> dict[str, str]:
    """The code that reads and packs is part of what the result depends on."""
    from modelworks.stages import sources

    return sources([type(source).__module__, packed.__name__])


def _memory(project: Project, source: Source) -> Path:
    return project.state / "ingest" / f"{source.dataset}.json"


def _remembered(project: Project, source: Source) -> Any:  # any JSON value
    try:
        return json.loads(_memory(project, source).read_text())
    except (OSError, ValueError):
        return None


def _remember(project: Project, source: Source) -> None:
    path = _memory(project, source)
    path.parent.mkdir(exist_ok=True)
    fingerprint = source.fingerprint(project.root)
    write_json(path, {"source": _settings(source), "fingerprint": fingerprint, "code": _code(source)})


def _lock(project: Project) -> Any:  # filelock's context manager, which is untyped
    from filelock import FileLock, Timeout

    try:
        return FileLock(project.locks / "data.lock").acquire(timeout=600)
    except Timeout:
        raise Unavailable(
            "another run has been ingesting for ten minutes", "wait for it, or see modelworks doctor"
        ) from None

"""Ingest a source into `data/<name>/`, pinned by DVC. Existing data is verified."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelworks.data import dataset_format, versioning
from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.data.erasure import forgotten_ids
from modelworks.data.sources import PINNED, Source
from modelworks.errors import Corrupt
from modelworks.fault_injection import fault_point
from modelworks.files.atomic_files import disk_errors, write_json
from modelworks.files.locks import locked
from modelworks.pipeline.cache_keys import sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelworks.project import Project
    from modelworks.records import DatasetVersion

__all__ = ["ingest", "reason_to_work"]


def ingest(project: Project, source: Source) -> tuple[DatasetVersion, Literal["ran", "verified"]]:
    """Bring a source's data set up to date; return its version and whether anything was changed.

    Raises:
        BadInput: the source cannot be read.
        Corrupt: the pinned data is not available, or a remote's objects are damaged.
        Unavailable: a remote cannot be reached, or another process is ingesting.
    """
    project.make_private_folders()
    with disk_errors(project.data), locked(project.locks / "data.lock", "ingesting", seconds=600):
        changed = reason_to_work(project, source) is not None and _update(project, source)
        return versioning.observe(project, source.dataset), "ran" if changed else "verified"


def reason_to_work(project: Project, source: Source) -> str | None:
    """Return why the data set must be checked against its source; None if nothing changed.

    Raises:
        BadInput: the source does not exist.
    """
    folder = project.data / source.dataset
    state = _state(project, source)
    if not folder.is_dir():
        return f"data/{source.dataset} does not exist"
    pinned = dvc_file.files(project, source.dataset)
    if pinned is None or not _is_cached(project, pinned):
        return "DVC's cache lacks data that data.dvc pins"
    if pinned != object_cache.subtree(folder, project.memo):
        return f"data/{source.dataset} differs from data.dvc"
    remembered = _remembered(project, source)
    if remembered != state:
        only_forgotten = remembered is not None and {**remembered, "forgotten": state["forgotten"]} == state
        return (
            "forgotten.json changed since this data version was made"
            if only_forgotten
            else "the source may have changed"
        )
    return None


def _update(project: Project, source: Source) -> bool:
    """Restore data/ from the pin, then update both from the source.

    Return whether anything changed.
    """
    state = _state(project, source)  # before reading, so that the next run notices changes made meanwhile
    folder = project.data / source.dataset
    known = _remembered(project, source) == state
    for leftover in project.state.glob(".ingest-*"):  # of a killed run
        shutil.rmtree(leftover)
    versioning.clear_leftovers(project)
    with tempfile.TemporaryDirectory(prefix=".ingest-", dir=project.state) as name:
        changed, built = _restore(project, source, Path(name))
        if not built and not (folder.is_dir() and known):
            new = _build(project, source, Path(name))
            if not folder.is_dir() or object_cache.subtree(folder, project.memo) != object_cache.subtree(new):
                _replace(folder, new)
                changed = True
            _record(project, source)  # even if unchanged: the process may have been killed before the push
    _remember(project, source, state)
    return changed


def _restore(project: Project, source: Source, builds: Path) -> tuple[bool, bool]:
    """Restore data/ from data.dvc.

    Return whether it differed, and whether the source's data was built for it.

    Raises:
        Corrupt: neither the cache nor a remote has the pinned data, and the sources here give other data.
    """
    pin = dvc_file.read(project)
    if pin is None:
        return False, False
    current = object_cache.subtree(project.data, project.memo)
    if object_cache.listing_digest(current) == pin:
        pinned = dvc_file.files(project, source.dataset)
        if pinned is None or not _is_cached(project, pinned):
            _record(project, source)  # the cache, or an object in it, was lost
        return False, False
    if versioning.fetch(project):
        return True, False
    listings = {each.dataset: _listing(_build(project, each, builds)) for each in (*PINNED, source)}
    for number in range(len(listings), 0, -1):
        for names in itertools.combinations(listings, number):
            files = {path: md5 for name in names for path, md5 in listings[name].items()}
            if pin in (object_cache.listing_digest(files), object_cache.listing_digest({**current, **files})):
                for name in names:
                    _replace(project.data / name, builds / name)
                _record(project, source)
                return True, source.dataset in names
    raise Corrupt(
        f"data.dvc pins {pin}, which is in neither DVC's cache nor a remote, and cannot be built from the sources here",
        "run `dvc pull` from a remote that has it, or `git checkout data.dvc` if the pin was edited",
        code="data.pin-unavailable",
    )


def _is_cached(project: Project, files: Mapping[str, str]) -> bool:
    """Return whether DVC's cache has every object of `{path: md5}`; their bytes are not read."""
    cache = object_cache.cache(project)
    return all(object_cache.path_of(cache, md5).is_file() for md5 in files.values())


def _record(project: Project, source: Source) -> None:
    """Pin data/ and push it.

    The source's state is deleted first, so that a failed push is repeated.
    """
    _memory(project, source).unlink(missing_ok=True)
    versioning.record(project)


def _build(project: Project, source: Source, builds: Path) -> Path:
    """Return the packed data set `builds/<name>/`; build it if it does not exist."""
    folder = builds / source.dataset
    if not folder.exists():
        folder.mkdir()
        dataset_format.write(
            folder, source.dataset, _settings(source), source.read(project.root), forgotten_ids(project)
        )
    return folder


def _listing(built: Path) -> dict[str, str]:
    return {f"{built.name}/{path}": md5 for path, md5 in object_cache.subtree(built).items()}


def _replace(folder: Path, built: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    if folder.exists():
        dataset_format.refuse_unknown_files(
            folder.parent, [f"{folder.name}/{path}" for path in object_cache.subtree(folder)]
        )
        shutil.rmtree(folder)
    fault_point("ingest.before_move")
    shutil.move(built, folder)
    fault_point("ingest.after_move")


def _state(project: Project, source: Source) -> dict[str, Any]:
    """Return what the data set depends on: the source's fingerprint and the code of ingest."""
    return {
        "source": _settings(source),
        "fingerprint": source.fingerprint(project.root),
        "forgotten": sorted(forgotten_ids(project)),
        "code": sources([type(source).__module__, dataset_format.__name__]),
    }


def _settings(source: Source) -> dict[str, Any]:
    assert dataclasses.is_dataclass(source)
    assert not isinstance(source, type)
    settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(source)))  # as they will be read back
    return settings


def _memory(project: Project, source: Source) -> Path:
    return project.state / "ingest" / f"{source.dataset}.json"


def _remembered(project: Project, source: Source) -> Any:  # any JSON value
    try:
        return json.loads(_memory(project, source).read_text())
    except (OSError, ValueError):
        return None


def _remember(project: Project, source: Source, state: dict[str, Any]) -> None:
    path = _memory(project, source)
    path.parent.mkdir(exist_ok=True)
    fault_point("ingest.before_remember")
    write_json(path, state)
    fault_point("ingest.after_remember")

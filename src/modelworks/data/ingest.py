"""Ingest: a source becomes `data/<name>/`, pinned by DVC; what already stands is verified, not trusted."""

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
    """The data set of a source, as it is now, and whether anything had to be done for that.

    Raises:
        BadInput: the source cannot be read.
        Corrupt: the pinned data cannot be had, or a remote's bytes are damaged.
        Unavailable: a remote cannot be reached, or another process is at it.
    """
    project.make_private_folders()
    with disk_errors(project.data), locked(project.locks / "data.lock", "ingesting", seconds=600):
        worked = reason_to_work(project, source) is not None and _bring(project, source)
        return versioning.observe(project, source.dataset), "ran" if worked else "verified"


def reason_to_work(project: Project, source: Source) -> str | None:
    """Why the data set must be looked at more closely than by its digests; None when all is as it was.

    Raises:
        BadInput: the source is not there.
    """
    folder = project.data / source.dataset
    state = _state(project, source)
    if not folder.is_dir():
        return f"data/{source.dataset} is not there"
    pinned = dvc_file.files(project, source.dataset)
    if pinned is None or not _is_cached(project, pinned):
        return "DVC's cache does not hold what data.dvc pins"
    if pinned != object_cache.subtree(folder, project.memo):
        return f"data/{source.dataset} is not what data.dvc pins"
    remembered = _remembered(project, source)
    if remembered != state:
        same_but_for_that = remembered is not None and {**remembered, "forgotten": state["forgotten"]} == state
        return "the rows to be forgotten are others" if same_but_for_that else "the source may have changed"
    return None


def _bring(project: Project, source: Source) -> bool:
    """Make data/ what the pin says, and the pin what the source says; True when either had to change."""
    state = _state(project, source)  # before reading: what changes meanwhile is then seen next time
    folder = project.data / source.dataset
    known = _remembered(project, source) == state
    for leftover in project.state.glob(".ingest-*"):  # of a killed run
        shutil.rmtree(leftover)
    versioning.clear_leftovers(project)
    with tempfile.TemporaryDirectory(prefix=".ingest-", dir=project.state) as name:
        worked, built = _follow_pin(project, source, Path(name))
        if not built and not (folder.is_dir() and known):
            new = _build(project, source, Path(name))
            if not folder.is_dir() or object_cache.subtree(folder, project.memo) != object_cache.subtree(new):
                _replace(folder, new)
                worked = True
            _record(project, source)  # even of the same bytes: a kill may have come before they were pushed
    _remember(project, source, state)
    return worked


def _follow_pin(project: Project, source: Source, builds: Path) -> tuple[bool, bool]:
    """Make data/ what data.dvc pins. Returns whether it was not, and whether the source's own data was built for it.

    Raises:
        Corrupt: neither cache nor remote has the pinned data, and this machine's sources give other data.
    """
    pin = dvc_file.read(project)
    if pin is None:
        return False, False
    standing = object_cache.subtree(project.data, project.memo)
    if object_cache.listing_digest(standing) == pin:
        pinned = dvc_file.files(project, source.dataset)
        if pinned is None or not _is_cached(project, pinned):
            _record(project, source)  # the cache, or an object in it, was lost
        return False, False
    if versioning.fetch(project):
        return True, False
    made = {each.dataset: _listing(_build(project, each, builds)) for each in (*PINNED, source)}
    for number in range(len(made), 0, -1):
        for names in itertools.combinations(made, number):
            files = {path: md5 for name in names for path, md5 in made[name].items()}
            if pin in (object_cache.listing_digest(files), object_cache.listing_digest({**standing, **files})):
                for name in names:
                    _replace(project.data / name, builds / name)
                _record(project, source)
                return True, source.dataset in names
    raise Corrupt(
        f"data.dvc pins {pin}, which neither DVC's cache nor a remote has, and which the sources here do not give",
        "run `dvc pull` from a remote that has it, or `git checkout data.dvc` if the pin was edited",
        code="data.pin-unavailable",
    )


def _is_cached(project: Project, files: Mapping[str, str]) -> bool:
    """Return whether DVC's cache has every object of `{path: md5}`; their bytes are not read."""
    cache = object_cache.cache(project)
    return all(object_cache.path_of(cache, md5).is_file() for md5 in files.values())


def _record(project: Project, source: Source) -> None:
    """Pin data/ and push it. A source whose push failed is remembered no more: the next run begins with that push."""
    _memory(project, source).unlink(missing_ok=True)
    versioning.record(project)


def _build(project: Project, source: Source, builds: Path) -> Path:
    """The packed data set `builds/<name>/`, made if it is not there yet."""
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
        dataset_format.refuse_strangers(
            folder.parent, [f"{folder.name}/{path}" for path in object_cache.subtree(folder)]
        )
        shutil.rmtree(folder)
    fault_point("ingest.before_move")
    shutil.move(built, folder)
    fault_point("ingest.after_move")


def _state(project: Project, source: Source) -> dict[str, Any]:
    """What the data set depends on, as cheaply as it can be told: the source and the code that reads and packs it."""
    return {
        "source": _settings(source),
        "fingerprint": source.fingerprint(project.root),
        "forgotten": sorted(forgotten_ids(project)),
        "code": sources([type(source).__module__, dataset_format.__name__]),
    }


def _settings(source: Source) -> dict[str, Any]:
    assert dataclasses.is_dataclass(source)
    assert not isinstance(source, type)
    settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(source)))  # as they will be remembered
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

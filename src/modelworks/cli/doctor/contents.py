"""Every stored byte, read and compared: what has changed without a trace in a file's size and times."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from modelworks.cli.doctor.finding import Finding, ill, sick, well
from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.files.digest import file_digest
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Outputs of stages, pages, preprocessed rows, data sets and DVC's cache."""
    roots = {"stage outputs": project.stages, "pages": project.state / "reports"}
    for what, root in roots.items():
        yield _outputs(f"bytes of {what}", root, "[!.]*")
    yield _outputs("bytes of decoded rows", project.state, "decoded")
    yield from _data(project)


def _outputs(what: str, root: Path, stages: str) -> Finding:
    store = StageStore(root)
    folders = [folder for stage in sorted(root.glob(stages)) for folder in sorted(stage.glob("[!.]*"))]
    damaged = [each for each in folders if store.state(each.parent.name, each.name, file_digest) == "damaged"]
    if not damaged:
        return well(what, f"{len(folders)} folders are what their manifests say")
    return sick(what, f"{len(damaged)} of {len(folders)} are damaged, e.g. {damaged[0].name}", _removing(damaged))


def _data(project: Project) -> Iterator[Finding]:
    pin = dvc_file.read(project)
    if pin is None:
        return
    cache = object_cache.cache(project)
    broken = list(object_cache.damaged(cache, pin))
    if broken:
        yield sick("bytes of DVC's cache", f"{len(broken)} objects are damaged, e.g. {broken[0]}", _removing(broken))
    else:
        yield well("bytes of DVC's cache", "the objects are what their names say")
    listed = object_cache.listing(cache, pin) or {}
    found = object_cache.subtree(project.data)
    differing = sorted(path for path in {*found, *listed} if found.get(path) != listed.get(path))
    if not listed:
        yield ill("bytes of data/", "DVC's cache does not hold the listing of what data.dvc pins: run a config again")
    elif differing:
        yield sick("bytes of data/", f"{differing[0]} is not what data.dvc pins", _reading_again(project))
    else:
        yield well("bytes of data/", f"{len(found)} files are what data.dvc pins")


def _removing(paths: list[Path]) -> Callable[[], str]:
    def remedy() -> str:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return f"{len(paths)} removed: the next run makes or fetches them again"

    return remedy


def _reading_again(project: Project) -> Callable[[], str]:
    def remedy() -> str:
        project.memo.forget()
        return "the next run compares every byte of it, and restores it"

    return remedy

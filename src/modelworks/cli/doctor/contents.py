"""Check every stored byte, to find damage that left a file's size and times unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from modelworks.cli.doctor.finding import Finding, failing, ok, repairable
from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.files.digest import file_digest
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Check stage outputs, pages, preprocessed rows, data sets and DVC's cache."""
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
        return ok(what, f"{len(folders)} folders match their manifests")
    return repairable(what, f"{len(damaged)} of {len(folders)} are damaged, e.g. {damaged[0].name}", _remove(damaged))


def _data(project: Project) -> Iterator[Finding]:
    pin = dvc_file.read(project)
    if pin is None:
        return
    cache = object_cache.cache(project)
    broken = list(object_cache.damaged(cache, pin))
    if broken:
        yield repairable(
            "bytes of DVC's cache", f"{len(broken)} objects are damaged, e.g. {broken[0]}", _remove(broken)
        )
    else:
        yield ok("bytes of DVC's cache", "the objects match their digests")
    listed = object_cache.listing(cache, pin) or {}
    found = object_cache.subtree(project.data)
    differing = sorted(path for path in {*found, *listed} if found.get(path) != listed.get(path))
    if not listed:
        yield failing("bytes of data/", "DVC's cache lacks the listing that data.dvc pins: run a config again")
    elif differing:
        yield repairable("bytes of data/", f"{differing[0]} differs from data.dvc", _forget_digests(project))
    else:
        yield ok("bytes of data/", f"{len(found)} files match data.dvc")


def _remove(paths: list[Path]) -> Callable[[], str]:
    def repair() -> str:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return f"{len(paths)} removed: the next run makes or fetches them again"

    return repair


def _forget_digests(project: Project) -> Callable[[], str]:
    def repair() -> str:
        project.memo.forget()
        return "the next run compares every byte of data/ and restores it"

    return repair

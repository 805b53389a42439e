"""Read `data.dvc`, which pins data/ for a commit, and protect it from incomplete writes."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from modelworks.data.dvc_storage import object_cache
from modelworks.errors import Corrupt
from modelworks.files.atomic_files import sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelworks.project import Project

__all__ = ["files", "protected", "read", "repair"]


def read(project: Project) -> str | None:
    """Return the digest of data/ in data.dvc; None if there is no data.dvc.

    Raises:
        Corrupt: the file is not in DVC's format.
    """
    path, before = _file(project), _before(project)
    try:
        return _digest(path) if path.exists() else None
    except Corrupt:
        if not before.exists():
            raise
        # DVC was killed while it wrote the file in place: the backup is still valid.
        return _digest(before) if before.stat().st_size else None


def files(project: Project, name: str) -> dict[str, str] | None:
    """Return the pinned files of `data/<name>/` as `{path: md5}`.

    Empty if the data set is not pinned.

    None if the pin's listing is not in the local cache and must be fetched first.
    """
    digest = read(project)
    if digest is None:
        return {}
    listing = object_cache.listing(object_cache.cache(project), digest)
    if listing is None:
        return None
    prefix = f"{name}/"
    return {path.removeprefix(prefix): md5 for path, md5 in listing.items() if path.startswith(prefix)}


@contextlib.contextmanager
def protected(project: Project) -> Iterator[None]:
    """Keep a backup of data.dvc until the block succeeds, because DVC writes the file in place."""
    path, before = _file(project), _before(project)
    temporary = before.with_suffix(".new")
    temporary.write_bytes(path.read_bytes() if path.exists() else b"")  # empty if there is no data.dvc
    sync(temporary)
    temporary.replace(before)
    yield
    before.unlink()


def repair(project: Project) -> None:
    """Restore data.dvc after a kill inside `protected`: DVC fails if the file is incomplete."""
    path, before = _file(project), _before(project)
    if not before.exists():
        return
    try:
        if path.exists():
            _digest(path)
    except Corrupt:
        if before.stat().st_size:
            before.replace(path)
        else:
            path.unlink()
    before.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        (out,) = YAML(typ="safe", pure=True).load(path.read_text())["outs"]
        digest, _ = str(out["md5"]), out["path"]  # DVC writes `path` last
    except (YAMLError, LookupError, TypeError, ValueError, OSError) as error:
        raise Corrupt(
            f"{path} is not a DVC file: {error}", "run git checkout data.dvc", code="data.pin-damaged"
        ) from error
    if not re.fullmatch(r"[0-9a-f]{32}\.dir", digest):
        raise Corrupt(f"{path} is not a DVC file: md5 {digest}", "run git checkout data.dvc", code="data.pin-damaged")
    return digest


def _file(project: Project) -> Path:
    return project.root / "data.dvc"


def _before(project: Project) -> Path:
    return project.state / "data.dvc.before"

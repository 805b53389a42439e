"""The pin: `data.dvc`, which names the version of data/ that a commit goes with; read, and kept whole, as a file."""

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

__all__ = ["files", "kept", "put_torn_back", "read"]


def read(project: Project) -> str | None:
    """The digest of data/ that data.dvc names; None when there is no data.dvc.

    Raises:
        Corrupt: it is not what DVC writes.
    """
    path, before = _file(project), _before(project)
    try:
        return _digest(path) if path.exists() else None
    except Corrupt:
        if not before.exists():
            raise
        # A kill came while DVC wrote the file, in place: the pin is still what it was.
        return _digest(before) if before.stat().st_size else None


def files(project: Project, name: str) -> dict[str, str] | None:
    """What the pin says of `data/<name>/`: `{path: md5}`; empty when it does not know the data set.

    None when this machine does not hold the pin's listing, so that nothing can be said without fetching it.
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
def kept(project: Project) -> Iterator[None]:
    """Keep data.dvc as it is, empty for none, until the block has ended well: DVC writes it in place."""
    path, before = _file(project), _before(project)
    started = before.with_suffix(".new")
    started.write_bytes(path.read_bytes() if path.exists() else b"")
    sync(started)
    started.replace(before)
    yield
    before.unlink()


def put_torn_back(project: Project) -> None:
    """Mend what a kill inside `kept` left: DVC would refuse to work beside half a file."""
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
        digest, _ = str(out["md5"]), out["path"]  # which DVC writes last
    except (YAMLError, LookupError, TypeError, ValueError, OSError) as error:
        raise Corrupt(
            f"{path} is not what DVC writes: {error}", "git checkout data.dvc", code="data.pin-damaged"
        ) from error
    if not re.fullmatch(r"[0-9a-f]{32}\.dir", digest):
        raise Corrupt(f"{path} is not what DVC writes: md5 {digest}", "git checkout data.dvc", code="data.pin-damaged")
    return digest


def _file(project: Project) -> Path:
    return project.root / "data.dvc"


def _before(project: Project) -> Path:
    return project.state / "data.dvc.before"

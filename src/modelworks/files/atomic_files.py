"""Write files durably, and convert disk errors."""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["disk_errors", "replace_json", "sync", "write_json"]


def write_json(path: Path, value: Any) -> None:  # any JSON value
    """Write an indented JSON file and sync it to disk."""
    with path.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def replace_json(path: Path, value: Any) -> None:  # any JSON value
    """Write a JSON file of a cache atomically, in folders that only this user can enter; the last writer wins."""
    import tempfile

    for folder in (path.parents[1], path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".json", delete=False) as stream:
        json.dump(value, stream, indent=1)
    Path(stream.name).replace(path)


@contextmanager
def disk_errors(path: Path, needs: int = 0) -> Iterator[None]:
    """Convert an `OSError` of the disk into an error with path and hint.

    Args:
        path: reported if the `OSError` has no path.
        needs: bytes to be written; 0 if unknown.
    """
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or path  # filename2 is the target of a copy
        # NumPy reports only how many items were written.
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or str(error).endswith(" written"):
            raise _no_space(place, needs) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BadInput(
                f"cannot write {place}: {error.strerror}", "make the folder writable", code="disk.not-writable"
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise BadInput(
                f"cannot create the folder {place}: a file is in its way",
                "move that file elsewhere",
                code="disk.path-taken",
            ) from error
        if error.errno == errno.EIO:
            raise Unavailable(
                f"the disk failed at {place}", "see the system's log, then run again", code="disk.failed"
            ) from error
        raise


def _no_space(place: Any, needs: int) -> Unavailable:
    """Return the error for a full disk or no free inodes, which have the same errno."""
    folder = next((each for each in (Path(str(place)), *Path(str(place)).parents) if each.is_dir()), Path())
    disk = os.statvfs(folder)
    if disk.f_files and not disk.f_favail:
        return Unavailable(
            f"no inodes left while writing {place}: the disk has free bytes, but no more files can be created",
            "delete files on that disk and run again; df -i shows the limit",
            code="disk.no-inodes",
        )
    amount = f", which needs {needs / 1e6:,.1f} MB" if needs else ""
    return Unavailable(
        f"no space left while writing {place}{amount}", "free some disk space and run again", code="disk.full"
    )


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

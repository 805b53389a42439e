"""Write files that survive a crash, and turn errors of the disk into ours."""

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

__all__ = ["disk_errors", "sync", "write_json"]


def write_json(path: Path, value: Any) -> None:  # any JSON value
    """Write a JSON file for people and programs: indented, synced to disk."""
    with path.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def disk_errors(path: Path, needs: int = 0) -> Iterator[None]:
    """Turn what the disk refuses into an error that names the place and the way out.

    Args:
        path: named where the system names none.
        needs: bytes that are to be written; 0 for what nobody has counted.
    """
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or path  # of a copy, where it was to go
        # NumPy only says how many of its items were written.
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or str(error).endswith(" written"):
            raise _no_space(place, needs) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BadInput(
                f"cannot write {place}: {error.strerror}", "make the folder writable", code="disk.not-writable"
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise BadInput(
                f"cannot make the folder {place}: a file is in its way",
                "move that file elsewhere",
                code="disk.path-taken",
            ) from error
        if error.errno == errno.EIO:
            raise Unavailable(
                f"the disk failed at {place}", "see the system's log, then run again", code="disk.failed"
            ) from error
        raise


def _no_space(place: Any, needs: int) -> Unavailable:
    """The disk takes no more bytes, or no more files: the system has one error for both."""
    folder = next((each for each in (Path(str(place)), *Path(str(place)).parents) if each.is_dir()), Path())
    disk = os.statvfs(folder)
    if disk.f_files and not disk.f_favail:
        return Unavailable(
            f"no inodes left while writing {place}: its disk has room for bytes, but for no more files",
            "delete files on that disk and run again; df -i shows how many it takes",
            code="disk.no-inodes",
        )
    amount = f", which needs {needs / 1e6:,.1f} MB" if needs else ""
    return Unavailable(
        f"no space left while writing {place}{amount}", "free some disk space and run again", code="disk.full"
    )


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

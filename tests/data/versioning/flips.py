"""Damage of data sets, for tests."""

from __future__ import annotations

import os
from pathlib import Path

from modelworks.project import Project


def flip(path: Path) -> None:
    """Change one byte and keep the size and the times."""
    status = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flip_data(project: Project) -> None:
    flip(project.data / "digits" / "examples.parquet")

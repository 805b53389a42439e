"""Files that replace or join those of a package."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

Attack = Callable[[Path, Path], object]
"""Changes a package (its folder in the artifact store) so that running its code creates a file (the canary)."""

MODEL = Path("artifacts") / "model"


def code(canary: Path) -> str:
    """Return source that creates the canary when it runs."""
    return f"import pathlib\npathlib.Path({str(canary)!r}).write_text('ran')\n"


def seal(folder: Path) -> None:
    """Update the saved model's manifest to the current files."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            files[path.relative_to(folder).as_posix()] = {
                "size": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
    (folder / "manifest.json").write_text(json.dumps(files))


def write_file(name: str, content: Callable[[Path], str | bytes]) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        written = content(canary)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written.encode() if isinstance(written, str) else written)
        if MODEL in Path(name).parents:
            seal(folder / MODEL)

    return attack


def append_code(name: str) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        with (folder / name).open("a") as stream:
            stream.write("\n" + code(canary))
        if MODEL in Path(name).parents:
            seal(folder / MODEL)

    return attack


def compiled(folder: Path, canary: Path) -> None:
    """Write a .pyc file for serving.py with the right time and size."""
    import importlib._bootstrap_external as bootstrap
    import importlib.util

    (folder / "__pycache__").unlink()
    (folder / "__pycache__").mkdir()
    status = (folder / "serving.py").stat()
    compiled = compile(code(canary), str(folder / "serving.py"), "exec")
    raw = bootstrap._code_to_timestamp_pyc(compiled, int(status.st_mtime), status.st_size)
    Path(importlib.util.cache_from_source(str(folder / "serving.py"))).write_bytes(raw)


def link_file(folder: Path, canary: Path) -> None:
    outside = folder.parent.parent / "outside.py"
    outside.write_text(code(canary))
    (folder / "serving.py").unlink()
    (folder / "serving.py").symlink_to(outside)


def link_folder(folder: Path, canary: Path) -> None:
    outside = folder.parent.parent / "outside"
    (folder / MODEL).rename(outside)
    (folder / MODEL).symlink_to(outside)
    append_code("saved.py")(outside, canary)


def hard_link(folder: Path, canary: Path) -> None:
    outside = folder.parent.parent / "outside.py"
    outside.write_text(code(canary))
    (folder / "serving.py").unlink()
    os.link(outside, folder / "serving.py")


def pipe(folder: Path, canary: Path) -> None:
    (folder / "serving.py").unlink()
    os.mkfifo(folder / "serving.py")


def bomb(name: str) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        with (folder / name).open("ab") as stream:
            stream.truncate(2**40)  # a sparse file, which would fill a disk when copied

    return attack


def file_header(length: int, header: str, data: bytes) -> Attack:
    return write_file("artifacts/model/model.safetensors", lambda _: struct.pack("<Q", length) + header.encode() + data)


def reversed_tensors(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: tensor[::-1].copy() for name, tensor in tensors.items()}

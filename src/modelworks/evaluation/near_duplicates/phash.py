"""How much two images look alike, whatever their size, format and compression.

An image is scaled down to 16 x 16 grey levels. The signs of its 64 lowest frequencies against their median are its
hash (pHash: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions); images whose hashes
are near are compared by the correlation of those grey levels.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.evaluation.near_duplicates.lsh import neighbours

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["alike", "hashes", "thumbnails"]

SIDE, LOW = 16, 8
DISTANCE = 7
"""Of 64 bits. With eight bands of a byte, two hashes that differ in no more than seven bits share a band."""
CORRELATION = 0.985
"""From here on two images are nearly the same: written again, scaled, brightened, compressed."""
PARTNERS = 3

Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def thumbnails(contents: Sequence[bytes]) -> Thumbnails:
    """(n, 256) grey levels."""
    from PIL import Image

    found = np.empty((len(contents), SIDE * SIDE), dtype=np.uint8)
    for index, content in enumerate(contents):
        with Image.open(io.BytesIO(content)) as image:
            image.draft("L", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded no larger than need be
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        found[index] = np.asarray(small).ravel()
    return found


def alike(ours: Thumbnails, theirs: Thumbnails) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Pairs of images that look nearly the same: rows of ours, rows of theirs, correlation."""
    left_hashes, right_hashes = hashes(ours), hashes(theirs)

    def distance(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        differing: npt.NDArray[np.uint8] = np.bitwise_count(left_hashes[left] ^ right_hashes[right])
        return differing

    left, right = neighbours(_bands(left_hashes), _bands(right_hashes), distance, limit=DISTANCE, most=PARTNERS)
    likeness = np.einsum("ij,ij->i", _standardised(ours[left]), _standardised(theirs[right]))
    close = likeness >= CORRELATION
    return left[close], right[close], likeness[close]


def hashes(images: Thumbnails) -> npt.NDArray[np.uint64]:
    """(n,) of 64 bits."""
    steps = np.arange(SIDE, dtype=np.float32)
    waves = np.cos(np.pi / SIDE * np.outer(np.arange(LOW), steps + 0.5)).astype(np.float32)
    frequencies = (waves @ images.astype(np.float32).reshape(-1, SIDE, SIDE) @ waves.T).reshape(-1, LOW * LOW)
    # The first one is the brightness, which is not to matter.
    bits = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _bands(found: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(found).view(np.uint8).reshape(-1, 8)


def _standardised(images: Thumbnails) -> Floats:
    """Rows of mean 0 and length 1; an image of one shade has no shape to compare and stays all 0."""
    centred = images - images.mean(axis=1, keepdims=True, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", centred, centred))[:, None]
    scaled: Floats = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1)
    return scaled

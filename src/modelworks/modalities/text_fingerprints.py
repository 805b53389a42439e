"""Similarity of texts by their common byte sequences.

A text is represented by the set of its sequences of five bytes, in lower case and with single spaces. MinHash estimates
the Jaccard index of two sets (Broder 1997, doi:10.1109/SEQUEN.1997.666900); pairs with a high estimate are compared
exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Fingerprints", "minhashes", "similarity"]

Indices = npt.NDArray[np.int64]

LENGTH = 5
HASHES, BANDS = 32, 8
"""Four hashes per band: of pairs with Jaccard index 0.8, 99 % agree in a band; with 0.3, 6 %."""
AT_ONCE = 1_000_000
"""Bytes of text per chunk."""


class Fingerprints:
    """Texts and their hashes."""

    max_distance: ClassVar[int] = 16
    """Hashes of 32 that may differ before the exact comparison; texts with Jaccard index 0.8 differ in 6 on average."""
    min_similarity: ClassVar[float] = 0.8
    """Jaccard index from which two texts are near-duplicates."""

    def __init__(self, texts: Sequence[str], hashed: npt.NDArray[np.uint32]) -> None:
        self._texts, self._hashes = texts, hashed
        self.bands = _bands(hashed)

    @classmethod
    def of(cls, contents: Iterable[str]) -> Fingerprints:
        """Compute hashes of texts, and keep the texts for the exact comparison."""
        texts = list(contents)
        return cls(texts, minhashes(texts))

    def take(self, rows: Indices) -> Fingerprints:
        """Return the fingerprints of some rows."""
        return Fingerprints([self._texts[row] for row in rows], self._hashes[rows])

    def distance(self, other: Fingerprints, rows: Indices, others: Indices) -> Indices:
        """Return the number of hashes that differ."""
        return np.asarray((self._hashes[rows] != other._hashes[others]).sum(axis=1))

    def similarity(self, other: Fingerprints, rows: Indices, others: Indices) -> npt.NDArray[np.float32]:
        """Return the Jaccard indices of pairs of texts."""
        pairs = zip(rows, others, strict=True)
        return np.array([similarity(self._texts[one], other._texts[two]) for one, two in pairs], dtype=np.float32)


def similarity(one: str, other: str) -> float:
    """Return the Jaccard index of the byte sequences of two texts."""
    left, right = (
        {raw[start : start + LENGTH] for start in range(len(raw) - LENGTH + 1)} for raw in map(_plain, (one, other))
    )
    return len(left & right) / len(left | right)


def minhashes(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """Return the minimum of each hash function over a text's sequences: (n, 32)."""
    seeds = np.random.default_rng(0).integers(2**64, size=HASHES, dtype=np.uint64) | np.uint64(1)
    found = np.empty((len(texts), HASHES), dtype=np.uint32)
    done = 0
    for parts in _chunks(texts):
        lengths = np.array([len(part) for part in parts])
        starts = np.cumsum(lengths) - lengths
        hashes = _sequences(np.frombuffer(b"".join(parts), dtype=np.uint8), starts + lengths)
        for place, seed in enumerate(seeds):
            # Multiplication by an odd number mixes into the upper bits: the upper half is the hash.
            values = ((hashes * seed) >> np.uint64(32)).astype(np.uint32)
            values[hashes == 0] = np.iinfo(np.uint32).max
            found[done : done + len(parts), place] = np.minimum.reduceat(values, starts)
        done += len(parts)
    return found


def _sequences(raw: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hash the five bytes at each position; 0 if the text ends within them."""
    word = np.zeros(len(raw), dtype=np.uint64)
    for offset in range(LENGTH):
        word[: len(raw) - offset] |= raw[offset:].astype(np.uint64) << np.uint64(8 * offset)
    # The finalizer of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).
    word += np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    word ^= word >> np.uint64(31)
    for offset in range(1, LENGTH):
        word[ends - offset] = 0
    return word


def _bands(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Combine each four hashes into one number: (n, 8)."""
    grouped = hashes.astype(np.uint64).reshape(-1, BANDS, HASHES // BANDS)
    factors = np.random.default_rng(1).integers(2**64, size=HASHES // BANDS, dtype=np.uint64) | np.uint64(1)
    bands: npt.NDArray[np.uint64] = (grouped * factors).sum(axis=2, dtype=np.uint64)
    return bands


def _chunks(texts: Sequence[str]) -> Iterator[list[bytes]]:
    parts: list[bytes] = []
    size = 0
    for text in texts:
        parts.append(_plain(text))
        size += len(parts[-1])
        if size > AT_ONCE:
            yield parts
            parts, size = [], 0
    if parts:
        yield parts


def _plain(text: str) -> bytes:
    """Convert to lower case with single spaces, padded to at least one sequence."""
    return " ".join(text.lower().split()).encode().ljust(LENGTH)

"""Facts of an image for validation: whether it decodes, its size, brightness and contrast."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from modelworks.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["MEASURES", "MOST_PIXELS", "SIZE", "WORDS", "facts", "remarks"]

SIZE = "bytes"
MEASURES = ("width", "height", "channels", "bytes", "mean", "contrast")
WORDS = False

MOST_PIXELS = 1 << 26
"""A larger image is not decoded: a small file can declare any size (decompression bomb)."""

_PACKED = re.compile(rb"P([56])\n(\d+) (\d+)\n255\n")
"""The header of a binary PGM or PPM file, whose pixels need no codec."""

_GREY = ("1", "L", "I", "I;16", "I;16B", "F")
"""Pillow's modes with one grey channel; all others are converted to RGB, as for the models."""


class _Image(NamedTuple):
    decodes: bool
    width: int | None
    height: int | None
    channels: int | None
    mean: float | None
    contrast: float | None
    fault: str | None


def facts(images: pa.ChunkedArray) -> pa.Table:
    """Return decodes, width, height, channels, mean, contrast, bytes and fault of each image.

    `mean` and `contrast` (standard deviation) are over all pixels, in grey levels of 0 to 255. `fault` is the
    reason why an image cannot be used; facts that are then unknown are null.
    """
    import pyarrow as pa
    from PIL import Image

    with warnings.catch_warnings():
        # MOST_PIXELS is lower than Pillow's limit and is an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        rows = [
            {**_inspect(content)._asdict(), "bytes": None if content is None else len(content)}
            for chunk in images.chunks
            for content in chunk.to_pylist()
        ]
    numbers = dict.fromkeys(("width", "height", "channels"), pa.int64()) | dict.fromkeys(
        ("mean", "contrast"), pa.float64()
    )
    schema = {"decodes": pa.bool_(), **numbers, "bytes": pa.int64(), "fault": pa.string()}
    return pa.Table.from_pylist(rows, pa.schema(schema.items()))


def remarks(usable: pd.DataFrame) -> Iterator[str]:
    """Report images of one colour."""
    plain = usable[usable["contrast"] == 0]
    if len(plain):
        yield f"images of a single colour: {len(plain)}, e.g. row {plain['row'].iloc[0]}"


def _inspect(content: bytes | None) -> _Image:
    if not content:
        return _unusable("it is empty")
    packed = _PACKED.match(content)
    if packed is None:
        return _decode(content)
    channels = 1 if packed[1] == b"5" else 3
    width, height = int(packed[2]), int(packed[3])
    if len(content) - packed.end() != width * height * channels or not width * height:
        return _unusable(f"{len(content) - packed.end()} bytes of pixels for {width}x{height}x{channels}")
    import numpy as np

    histogram = np.bincount(np.frombuffer(content, np.uint8, offset=packed.end()), minlength=256)
    return _Image(True, width, height, channels, *_moments(histogram), None)


def _decode(content: bytes) -> _Image:
    import numpy as np
    from PIL import Image

    try:
        # Image.open reads only the header; a truncated file fails when its pixels are loaded.
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                return _unusable(f"{image.width}x{image.height} is more than {MOST_PIXELS} pixels")
            image.load()
            channels = 3 if image.mode == "P" else len(image.getbands())
            histogram = image.convert("L" if image.mode in _GREY else "RGB").histogram()
            width, height = image.size
    except Interrupted:
        raise
    except Exception as error:  # Pillow's decoders raise any type on broken bytes; it becomes the row's fault
        return _unusable(_reason(error))
    return _Image(True, width, height, channels, *_moments(np.array(histogram).reshape(-1, 256).sum(axis=0)), None)


def _moments(histogram: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return mean and standard deviation from a histogram of 256 grey levels, with exact sums."""
    import numpy as np

    levels = np.arange(256)
    count = int(histogram.sum())
    total, squares = int(histogram @ levels), int(histogram @ levels**2)
    return total / count, (squares * count - total**2) ** 0.5 / count


def _unusable(reason: str) -> _Image:
    return _Image(False, None, None, None, None, None, f"does not decode: {reason}")


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its message is a buffer's address
        return "not an image file"
    return str(error) or type(error).__name__

"""Preview of an image for reports."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["preview"]

PIXELS = 192
"""Maximum length of the longer side."""


def preview(content: bytes) -> np.ndarray[Any, Any]:
    """Return an encoded image as RGB, uint8 (height, width, 3); small images keep sharp pixels."""
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    small = max(upright.size) <= PIXELS // 2
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return np.asarray(ImageOps.contain(upright, (PIXELS, PIXELS), how))

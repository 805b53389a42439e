"""Decode images and turn them into a model's input.

This file is copied into saved image models: it imports from this project by relative imports only.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch

    from .image_augmentation import Settings

__all__ = ["Processor"]

SAMPLE = 10_000
"""Minimum number of images, if available, from which mean and standard deviation are computed."""
LARGEST_SIDE = 128
"""Maximum side in pixels of images if the config names no size."""


class Processor:
    """Decodes, resizes and normalises the images of one model.

    `spec` has height, width, channels, and mean and std per channel in grey levels of 0 to 255.
    """

    kind = "image"
    settings = ("size",)
    """Fields of the `model:` section that `fit` reads."""
    libraries = ("pillow",)
    """Distributions that `decode` depends on."""
    fact_libraries = ("pillow",)
    """Distributions that the facts of validation depend on."""
    resident = ("pixels",)
    """Names of the arrays that may be kept on the device."""
    augmentations = ("shift", "flip", "crop", "cutout")
    """Fields of `train.augment` that it supports."""
    has_tokens = False
    """Whether rows have lengths in tokens."""
    content_name = "an image"
    """A noun for one content, with its article."""
    request_example = "$(base64 -w0 IMAGE.png)"
    """A content as it appears in a JSON string of a shell command for the scoring server."""

    def __init__(self, spec: Mapping[str, Any], _folder: Path | None = None) -> None:
        self.spec = dict(spec)
        self._on_device: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def fit(cls, contents: Collection[bytes], settings: Mapping[str, Any], _assets: Mapping[str, bytes]) -> Processor:
        """Find size, channels and statistics of the training images in one pass."""
        import numpy as np

        sizes: dict[tuple[int, int], int] = {}
        is_colour = False
        sampled = []
        stride = max(1, len(contents) // SAMPLE)
        for index, content in enumerate(contents):
            if index % stride == 0:
                sampled.append(content)
            width, height, channels = _header(content)
            sizes[height, width] = sizes.get((height, width), 0) + 1
            is_colour = is_colour or channels > 1
        height, width = max(sizes, key=lambda size: (sizes[size], size))
        side = int(settings.get("size", 0))
        if side:
            height = width = side
        elif max(height, width) > LARGEST_SIDE:
            scale = LARGEST_SIDE / max(height, width)
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
        processor = cls({"height": height, "width": width, "channels": 3 if is_colour else 1})
        sample = processor.decode(sampled)["pixels"]
        mean = sample.mean(axis=(0, 1, 2), dtype=np.float64)
        std = sample.std(axis=(0, 1, 2), dtype=np.float64)
        processor.spec |= {"mean": mean.round(4).tolist(), "std": np.maximum(std, 1.0).round(4).tolist()}
        return processor

    def save(self, folder: Path) -> None:
        """Write nothing: `spec` is the complete state."""

    @property
    def shape(self) -> dict[str, int]:
        """Sizes that an architecture needs: channels, height, width."""
        return {name: self.spec[name] for name in ("channels", "height", "width")}

    def from_json(self, value: Any) -> bytes:
        """Return the encoded image, given as bytes or as a base64 string."""
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise ValueError("is not an image: send the file's bytes, base64-encoded in JSON") from None

    def decode(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return `pixels`: uint8 (n, height, width, channels)."""
        import numpy as np

        height, width, channels = self.spec["height"], self.spec["width"], self.spec["channels"]
        pixels = np.empty((len(contents), height, width, channels), dtype=np.uint8)
        header = b"P%d\n%d %d\n255\n" % (5 if channels == 1 else 6, width, height)
        for index, content in enumerate(contents):
            if content.startswith(header) and len(content) == len(header) + height * width * channels:
                pixels[index] = np.frombuffer(content, np.uint8, offset=len(header)).reshape(height, width, channels)
            else:
                pixels[index] = _decode(content, height, width, channels)
        return {"pixels": pixels}

    def arrange(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Return tensors that share memory with the decoded arrays."""
        import torch

        return {"pixels": torch.from_numpy(arrays["pixels"])}

    def lengths(self, _arrays: Mapping[str, torch.Tensor]) -> np.ndarray | None:
        """Return None: all images cost the same."""
        return None

    def augment(self, inputs: Mapping[str, torch.Tensor], config: Settings) -> dict[str, torch.Tensor]:
        """Augment each image of a training batch on its device; blank areas are black."""
        from .image_augmentation import augment

        pixels = inputs["pixels"]
        mean, std = self._statistics(pixels.device.type)
        return {**inputs, "pixels": augment(pixels, config, -mean.flatten() / std.flatten())}

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Return normalised `pixels`: float32 (len(indices), channels, height, width), channels last.

        Args:
            arrays: from `arrange`, on the CPU or on the device.
            indices: int64, on the CPU.
            device: of the result.
        """
        source = arrays["pixels"]
        chosen = source[indices.to(source.device, non_blocking=True)]
        if chosen.device.type != device:
            chosen = chosen.pin_memory().to(device, non_blocking=True)
        mean, std = self._statistics(device)
        return {"pixels": chosen.permute(0, 3, 1, 2).float().sub_(mean).div_(std)}

    def _statistics(self, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        if device not in self._on_device:
            import torch

            mean, std = (torch.tensor(self.spec[name], device=device).view(1, -1, 1, 1) for name in ("mean", "std"))
            self._on_device[device] = mean, std
        return self._on_device[device]


def _header(content: bytes) -> tuple[int, int, int]:
    """Return (width, height, channels) without decoding the image."""
    pnm = re.match(rb"P([56])\n(\d+) (\d+)\n255\n", content)
    if pnm:
        return int(pnm[2]), int(pnm[3]), 1 if pnm[1] == b"5" else 3
    from PIL import ExifTags, Image

    with Image.open(io.BytesIO(content)) as image:
        sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        width, height = (image.height, image.width) if sideways else image.size
        return width, height, 1 if image.getbands()[0] in ("1", "L", "I", "F") else 3


def _decode(content: bytes, height: int, width: int, channels: int) -> np.ndarray:
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # Scale 16 bits to 8: Pillow's own conversion clips values at 255.
        upright = Image.fromarray((np.asarray(upright).clip(0, 65535) // 257).astype(np.uint8))
    upright = upright.convert("L" if channels == 1 else "RGB")
    if upright.size != (width, height):
        upright = upright.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(upright, dtype=np.uint8).reshape(height, width, channels)

"""Decoding, size and normalisation of images."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modelworks.modalities.image import Processor

GENERATOR = np.random.default_rng(0)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def spec(height: int, width: int, channels: int) -> dict[str, Any]:
    return {"height": height, "width": width, "channels": channels, "mean": [0.0] * channels, "std": [1.0] * channels}


def decode(content: bytes, height: int, width: int, channels: int) -> np.ndarray:
    pixels = Processor(spec(height, width, channels)).decode([content])["pixels"]
    assert pixels.shape == (1, height, width, channels)
    assert pixels.dtype == np.uint8
    return pixels.squeeze(0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 6), (5, 1)])
def test_pnm_images_decode_as_in_pillow(channels: int, size: tuple[int, int]) -> None:
    pixels = GENERATOR.integers(0, 256, (*size, channels), dtype=np.uint8)
    plain = b"P%d\n%d %d\n255\n" % (5 if channels == 1 else 6, size[1], size[0]) + pixels.tobytes()
    image = Image.open(io.BytesIO(plain))
    assert (decode(plain, *size, channels) == pixels).all()
    assert (decode(encoded(image), *size, channels) == pixels).all()
    # A header with a comment is left to Pillow.
    commented = plain.replace(b"\n", b"\n# a comment\n", 1)
    assert (decode(commented, *size, channels) == pixels).all()
    assert Processor.fit([commented], {}, {}).shape == {"channels": channels, "height": size[0], "width": size[1]}


def test_pnm_image_of_another_size_is_resized() -> None:
    pixels = GENERATOR.integers(0, 256, (8, 8), dtype=np.uint8)
    plain = b"P5\n8 8\n255\n" + pixels.tobytes()
    assert (decode(plain, 4, 4, 1) == decode(encoded(Image.fromarray(pixels)), 4, 4, 1)).all()


COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [102, 102, 102]]], dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_files_keep_their_colours(mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    assert np.abs(decode(content, 2, 2, 3).astype(int) - COLOURS).max() <= 1
    assert Processor.fit([content], {}, {}).shape["channels"] == 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_files_have_one_channel(mode: str) -> None:
    grey = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    content = encoded(image)
    assert Processor.fit([content], {}, {}).shape["channels"] == 1
    assert (decode(content, 2, 2, 1)[..., 0] == grey).all()


def test_16_bit_images_are_scaled_to_8_bits() -> None:
    levels = np.array([[0, 1000, 32768, 65535]], dtype=np.uint16)
    content = encoded(Image.fromarray(levels))
    assert decode(content, 1, 4, 1)[0, :, 0].tolist() == [0, 3, 127, 255]
    assert decode(content, 1, 4, 3)[0, :, 2].tolist() == [0, 3, 127, 255]


def test_exif_orientation_is_applied() -> None:
    upright = Image.fromarray(np.repeat(np.repeat(COLOURS, 8, 0), 16, 1))  # 16 high, 32 wide
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees
    content = encoded(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert Image.open(io.BytesIO(content)).size == (16, 32)
    fitted = Processor.fit([content], {}, {})
    assert fitted.shape == {"channels": 3, "height": 16, "width": 32}
    assert (fitted.decode([content])["pixels"][0] == np.asarray(upright)).all()


def test_one_colour_image_gives_three_channels() -> None:
    grey = encoded(Image.new("L", (2, 2), 90))
    processor = Processor.fit([grey, grey, encoded(Image.fromarray(COLOURS))], {}, {})
    assert processor.shape["channels"] == 3
    assert (processor.decode([grey])["pixels"] == 90).all()
    assert len(processor.spec["mean"]) == len(processor.spec["std"]) == 3


@pytest.mark.parametrize(
    ("sizes", "settings", "expected"),
    [
        ([(10, 20), (10, 20), (30, 30)], {}, (20, 10)),
        ([(10, 20), (10, 20), (30, 30)], {"size": 0}, (20, 10)),
        ([(10, 20), (10, 20), (30, 30)], {"size": 16}, (16, 16)),
        ([(512, 256)], {}, (64, 128)),
        ([(1000, 1)], {}, (1, 128)),
        ([(1, 1)], {}, (1, 1)),
    ],
)
def test_size_is_the_most_common_unless_configured_or_large(
    sizes: list[tuple[int, int]], settings: dict[str, Any], expected: tuple[int, int]
) -> None:
    contents = [encoded(Image.new("L", size)) for size in sizes]
    processor = Processor.fit(contents, settings, {})
    assert (processor.shape["height"], processor.shape["width"]) == expected
    assert processor.decode(contents)["pixels"].shape == (len(sizes), *expected, 1)


def test_batch_is_normalised_and_channels_last() -> None:
    contents = [encoded(Image.fromarray(GENERATOR.integers(0, 256, (6, 5, 3), dtype=np.uint8))) for _ in range(50)]
    processor = Processor.fit(contents, {}, {})
    arrays = processor.arrange(processor.decode(contents))
    batch = processor.collate(arrays, torch.arange(50))["pixels"]
    assert batch.shape == (50, 3, 6, 5)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-3)
    assert batch.std((0, 2, 3)).tolist() == pytest.approx([1] * 3, abs=1e-2)
    assert torch.equal(processor.collate(arrays, torch.tensor([7, 3]))["pixels"], batch[[7, 3]])
    assert processor.lengths(arrays) is None


def test_images_of_one_grey_level_are_normalised_without_division_by_zero() -> None:
    content = encoded(Image.new("L", (3, 3), 80))
    processor = Processor.fit([content], {}, {})
    batch = processor.collate(processor.arrange(processor.decode([content])), torch.tensor([0]))["pixels"]
    assert batch.abs().max() == 0


def test_request_accepts_image_as_bytes_or_base64() -> None:
    processor, content = Processor(spec(2, 2, 1)), b"P5\n2 2\n255\n0123"
    assert processor.from_json(content) == processor.from_json(base64.b64encode(content).decode()) == content
    for wrong in ("no image!", 3):
        with pytest.raises(ValueError, match="is not an image"):
            processor.from_json(wrong)

from __future__ import annotations

import io
import signal
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from modelworks.errors import Interrupted
from modelworks.modalities.image_facts import MOST_PIXELS, facts


def facts_of(*images: bytes | None) -> list[dict[str, object]]:
    return facts(pa.chunked_array([pa.array(images, pa.binary())])).to_pylist()


def encoded(image: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def test_facts_of_a_pnm_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 7), dtype=np.uint8)
    (fact,) = facts_of(b"P5\n7 5\n255\n" + pixels.tobytes())
    assert (fact["decodes"], fact["width"], fact["height"], fact["channels"], fact["bytes"]) == (True, 7, 5, 1, 46)
    assert fact["mean"] == pytest.approx(pixels.mean())
    assert fact["contrast"] == pytest.approx(pixels.std())


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 3)])
def test_pnm_and_png_of_the_same_pixels_have_the_same_facts(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, size=shape, dtype=np.uint8)
    magic = b"P5" if len(shape) == 2 else b"P6"
    first, second = facts_of(magic + b"\n3 4\n255\n" + pixels.tobytes(), encoded(Image.fromarray(pixels), "png"))
    assert first.pop("bytes") != second.pop("bytes")
    assert str(first) == str(second)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("RGBA", 4), ("I;16", 1)])
def test_every_common_mode_is_measured(mode: str, channels: int) -> None:
    (fact,) = facts_of(encoded(Image.new(mode, (3, 2)), "png"))
    assert (fact["decodes"], fact["channels"], fact["contrast"]) == (True, channels, 0.0)


def test_truncated_png_does_not_decode() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(64, 64), dtype=np.uint8)
    content = encoded(Image.fromarray(pixels), "png")
    Image.open(io.BytesIO(content[: len(content) * 6 // 10])).close()
    (fact,) = facts_of(content[: len(content) * 6 // 10])
    assert fact["decodes"] is False
    assert str(fact["fault"]).startswith("does not decode: ")
    assert fact["width"] is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it is empty"),
        (b"", "it is empty"),
        (b"no image at all", "not an image file"),
        (b"P5\n4 4\n255\n" + bytes(15), "15 bytes of pixels for 4x4x1"),
        (b"P6\n4 4\n255\n" + bytes(16), "16 bytes of pixels for 4x4x3"),
        (b"P5\n0 4\n255\n", "0 bytes of pixels for 0x4x1"),
    ],
)
def test_undecodable_content_has_the_reason_as_fault(content: bytes | None, reason: str) -> None:
    (fact,) = facts_of(content)
    assert (fact["decodes"], fact["fault"]) == (False, f"does not decode: {reason}")


def test_decompression_bomb_is_not_decoded() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = int(MOST_PIXELS**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 10**6, 10**6, 8, 0, 0, 0, 0)) + bomb[33:]
    for fact in facts_of(bomb, huge):
        assert fact["decodes"] is False
        assert "pixels" in str(fact["fault"])


def test_facts_do_not_depend_on_arrow_chunks() -> None:
    images = [b"P5\n1 1\n255\n" + bytes([level]) for level in range(4)]
    parts = pa.chunked_array([pa.array(images[:1]), pa.array(images[1:])])
    assert facts(parts)["mean"].to_pylist() == [0.0, 1.0, 2.0, 3.0]


def test_signal_during_decoding_is_not_a_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Image.Image) -> None:
        raise Interrupted(signal.SIGTERM)

    png = encoded(Image.new("L", (3, 3)), "PNG")
    assert facts_of(png)[0]["decodes"]
    monkeypatch.setattr(PngImageFile, "load", stop)
    with pytest.raises(Interrupted):
        facts_of(png)

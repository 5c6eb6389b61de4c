"""QR codes are read by a decoder that is not ours, and give back what was drawn."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs.qr import drawn, picture

PASSWORD = st.text("ABCXYZabcxyz0189-_", min_size=1, max_size=64)


@given(text=PASSWORD)
@settings(max_examples=20)
def test_what_is_drawn_can_be_read(camera: Callable[[str], str], text: str) -> None:
    """The lines for terminal and paper are the code of exactly this text."""
    assert text == camera("\n".join(drawn(text)))


def grey(png: bytes) -> memoryview:
    """The dots of a picture of one bit a dot, as this one is, as bytes."""
    width, height, depth, colour = struct.unpack_from(">IIBB", png, 16)
    assert (1, 0) == (depth, colour)
    at, data = 8, b""
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        data += png[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    raw, step, above, made = zlib.decompress(data), (width + 7) // 8 + 1, bytes((width + 7) // 8), b""
    for row in range(height):
        filtered, line = raw[row * step], raw[row * step + 1 : (row + 1) * step]
        assert filtered in (0, 2), "a filter that this reader does not know"
        above = (
            bytes((one + other) & 255 for one, other in zip(line, above, strict=True)) if filtered else line
        )
        made += bytes(255 * (above[x // 8] >> (7 - x % 8) & 1) for x in range(width))
    return memoryview(made).cast("B", (height, width))


def test_pictures_hold_the_same() -> None:
    """The PNG decodes to the text; the SVG is one; there is no other kind."""
    (seen,) = zxingcpp.read_barcodes(grey(picture("a-Password_1", "png")))
    assert "a-Password_1" == seen.text
    assert picture("a-Password_1", "svg").startswith(b"<?xml")
    with pytest.raises(ValueError, match="gif"):
        picture("a-Password_1", "gif")

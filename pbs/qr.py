"""A text as a QR code: for a terminal, for paper, as a picture. The only door to segno. It neither writes nor prints.

Medium error correction: a sheet of paper may get a fold or a stain.
"""

from __future__ import annotations

import io

import segno

BORDER = 4
SCALE = 8
# Two modules in one character, the upper and the lower one: dark is ink.
HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
PICTURES = ("svg", "png")


def drawn(text: str) -> list[str]:
    """Lines of half blocks, to be shown dark on light."""
    rows = [list(map(int, row)) for row in _code(text).matrix_iter(border=BORDER)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(HALVES[both] for both in zip(upper, lower, strict=True)) for upper, lower in pairs]


def picture(text: str, kind: str) -> bytes:
    """The bytes of a picture, of one of the kinds in `PICTURES`."""
    made = io.BytesIO()
    _code(text).save(made, kind=kind, scale=SCALE, border=BORDER, dark="#000", light="#fff")
    return made.getvalue()


def _code(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="m")

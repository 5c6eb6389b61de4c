"""Hostile text made safe to show, and sizes and durations as people write them.

What a source, a file name or a tool says may hold anything: every text of theirs goes through `clean` before a
terminal, log, page or feed shows it. This module never escapes for HTML or XML: who renders does that.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

ELLIPSIS = "…"
LINE_LIMIT = 500

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_LINE_END = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_FORBIDDEN = re.compile(
    "["
    r"\x00-\x08\x0e-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of what stands around them
    r"\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible
    r"\ufdd0-\ufdef\ufffe\uffff"  # no characters; XML forbids the last two
    + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(1, 17))
    + "]"
)

_DECIMAL_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_UNITS = {
    "": 1, "B": 1,
    "K": 1000, "KB": 1000, "KIB": 1024,
    "M": 1000**2, "MB": 1000**2, "MIB": 1024**2,
    "G": 1000**3, "GB": 1000**3, "GIB": 1024**3,
    "T": 1000**4, "TB": 1000**4, "TIB": 1024**4,
    "P": 1000**5, "PB": 1000**5, "PIB": 1024**5,
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", re.ASCII)
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([wdhms])")


def clean(text: str, limit: int) -> str:
    """`text` without what could steer a terminal, break XML or mislead a reader; `limit` characters at most.

    Lines and tabs stay. A byte that was no UTF-8 (a lone surrogate) shows as U+FFFD. Cut text ends with an ellipsis.
    """
    text = _ESCAPE_SEQUENCE.sub("", text)
    text = _LINE_END.sub("\n", text)
    text = _FORBIDDEN.sub("", text)
    text = _SURROGATE.sub("\ufffd", text)
    return _cut(text, limit)


def clean_line(text: str, limit: int = LINE_LIMIT) -> str:
    """Like `clean`, on one line: a newline or tab becomes a space."""
    # Room for every character that `clean` keeps; the cut comes after blanks at both ends are gone.
    line = clean(text, max(len(text), 1)).replace("\n", " ").replace("\t", " ").strip()
    return _cut(line, limit)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return text[: limit - 1] + ELLIPSIS if limit > 0 else ""


def size(count: int) -> str:
    """Bytes for people: `950 B`, `1.2 GB`; KB = 1000."""
    if count < 0:
        return f"-{size(-count)}"
    if count < 1000:
        return f"{count} B"
    value = Decimal(count)
    for unit in _DECIMAL_UNITS[1:]:
        value /= 1000
        rounded = value.quantize(Decimal("0.1"), ROUND_HALF_UP)
        if rounded < 1000 or unit == _DECIMAL_UNITS[-1]:
            return f"{rounded} {unit}"
    raise AssertionError


def duration(seconds: float) -> str:
    """A length of time for people, its two largest units: `0.4 s`, `3 min 20 s`, `2 d 3 h`."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    # Below the second of two units nothing shows, so round to it first: nothing ever reads `60 min`.
    for per, name, below, below_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        parts = round(whole / below)
        if parts * below >= per:
            high, low = divmod(parts, per // below)
            return f"{high} {name} {low} {below_name}" if low else f"{high} {name}"
    return f"{whole} s"


def parse_size(text: str) -> int:
    """The bytes that `200GB`, `1.5 TiB` or `4096` name; KB = 1000, KiB = 1024.

    Raises:
        ValueError: with what would be right.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(
            f'"{clean_line(text, 40)}" is no size; write a number and a unit, such as "200GB" or "512MiB"'
        )
    return int(Decimal(match[1]) * _UNITS[match[2].upper()])


def parse_duration(text: str) -> float:
    """The seconds that `90s`, `12h`, `2d` or `1h30m` name; units w, d, h, m, s, the larger first.

    Raises:
        ValueError: with what would be right.
    """
    parts = _DURATION.findall(text.strip())
    units = [unit for _, unit in parts]
    in_order = units == sorted(set(units), key=list(_SECONDS).index)
    if not parts or not in_order or "".join(map("".join, parts)) != text.strip():
        raise ValueError(
            f'"{clean_line(text, 40)}" is no duration; write numbers with units, such as "90s", "1h30m" or "2d"'
        )
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))

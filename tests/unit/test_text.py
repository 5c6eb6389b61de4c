"""Text that strangers wrote is safe to show; sizes and durations mean what people mean."""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbs.text import clean, clean_line, duration, parse_duration, parse_size, size

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=200)


@given(ANYTHING, st.integers(0, 250))
@example("\x1b[2J\x1b]0;title\x07\x9b31mred\ud800\ufffe\x00\u202e]]>", 250)
def test_nothing_that_steers_survives(text: str, limit: int) -> None:
    """No control, direction change, surrogate or XML-forbidden character is left, and the length is kept."""
    shown = clean(text, limit)
    assert len(shown) <= limit
    kinds = {unicodedata.category(letter) for letter in shown if letter not in "\n\t"}
    assert not kinds & {"Cc", "Cs"}
    directions = {unicodedata.bidirectional(letter) for letter in shown}
    assert not directions & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert clean(shown, limit) == shown
    assert shown.encode().decode() == shown


@given(ANYTHING)
def test_clean_text_fits_into_xml(text: str) -> None:
    """An XML parser gives back what was put in."""
    element = ET.Element("x")
    element.text = clean(text, 1000)
    assert (ET.fromstring(ET.tostring(element)).text or "") == clean(text, 1000)


@given(ANYTHING, st.integers(0, 250))
def test_a_line_is_one_line(text: str, limit: int) -> None:
    """However many line ends Unicode knows, one line comes out."""
    assert len(clean_line(text, limit).splitlines()) <= 1
    assert len(clean_line(text, limit)) <= limit


def test_ordinary_text_stays() -> None:
    """Accents, emoji, Arabic, newlines and tabs are no attack."""
    text = "Grüße 👩‍💻\tسلام\n日本語"
    assert clean(text, 100) == text


def test_what_a_terminal_would_do_is_gone() -> None:
    """Colours vanish whole; an overwritten line becomes lines; a broken byte shows as such."""
    assert clean("\x1b[31mred\x1b[0m\r10%\r\nx\udcff", 100) == "red\n10%\nx\ufffd"
    assert clean("abcdef", 4) == "abc…"
    assert clean_line("\n a\tb\nc \n") == "a b c"


def test_a_megabyte_is_no_trouble() -> None:
    """Long hostile text is cleaned in linear time."""
    assert len(clean("\x1b]\x1b[" * 300_000, 500)) <= 500


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (999_949, "999.9 KB"), (999_950, "1.0 MB"),
     (1_234_567_890, "1.2 GB"), (10**19, "10000.0 PB"), (-1500, "-1.5 KB")],
)  # fmt: skip
def test_sizes_for_people(count: int, shown: str) -> None:
    """KB = 1000, one digit after the point, never `1000.0 KB`."""
    assert size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (59.7, "1 min"), (200, "3 min 20 s"), (3599.6, "1 h"),
     (3930, "1 h 6 min"), (86399, "1 d"), (183600, "2 d 3 h"), (-5, "-5.0 s")],
)  # fmt: skip
def test_durations_for_people(seconds: float, shown: str) -> None:
    """The two largest units, rounded."""
    assert duration(seconds) == shown


@given(st.floats(0, 1e9))
def test_no_unit_overflows(seconds: float) -> None:
    """60 s is a minute, 60 min an hour, 24 h a day."""
    shown = duration(seconds)
    assert not {"60 s", "60 min", "24 h"} & {shown, shown[-4:], shown[-6:]}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("200GB", 200 * 10**9),
        ("1.5 TiB", 3 * 2**39),
        ("4096", 4096),
        ("10kb", 10_000),
        ("1KiB", 1024),
        ("0B", 0),
    ],
)
def test_sizes_from_people(text: str, count: int) -> None:
    """KB = 1000, KiB = 1024."""
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12h", 43200), ("2d", 172800), ("90s", 90), ("1h30m", 5400), ("1w", 604800), ("0.5s", 0.5)],
)
def test_durations_from_people(text: str, seconds: float) -> None:
    """Units in falling order."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "200 XB", "1.GB", "٣GB", "nan", "1,5GB"])
def test_no_sizes(text: str) -> None:
    """What is no size is refused with an example of one."""
    with pytest.raises(ValueError, match="200GB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "12", "h", "1m1h", "1h1h", "1h 30m", "-5s", "5 s", "1H", "٣s", "inf"])
def test_no_durations(text: str) -> None:
    """What is no duration is refused with an example of one."""
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_number_of_bytes_is_itself(count: int) -> None:
    """A bare number counts bytes."""
    assert parse_size(str(count)) == count

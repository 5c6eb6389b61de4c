"""Makes the tree that everybody backs up: the same one for the same size, number of files and seed."""

from __future__ import annotations

import os
import random
import re
from dataclasses import dataclass
from pathlib import Path

FILES_IN_A_FOLDER = 25
# Sizes of real trees spread over many orders of magnitude: a log-normal with this sigma has a mean 7 times its median.
SIGMA = 2.0
WORDS, LINES, WORDS_IN_A_LINE = 4000, 120_000, 9
SHARE_OF_TEXT = 0.5
LONG_AGO = 1_700_000_000
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, slots=True)
class Shape:
    """What was made."""

    files: int
    bytes: int
    text_bytes: int
    largest: int


def size_of(text: str) -> int:
    """Bytes of a size such as `1GB` or `30 MiB`.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?B?)", text.strip().upper())
    if found is None or found[2] not in UNITS:
        raise ValueError(f"{text!r} is no size")
    return int(float(found[1]) * UNITS[found[2]])


def grow(folder: Path, size: int, files: int, seed: int) -> Shape:
    """Fill `folder`: about half of the files are text that compresses, the other half is noise."""
    dice = random.Random(seed)
    weights = [dice.lognormvariate(0, SIGMA) for _ in range(files)]
    scale = size / sum(weights)
    lines = _lines(dice)
    total = text = largest = 0
    for number, weight in enumerate(weights):
        length = int(weight * scale)
        group = number // FILES_IN_A_FOLDER
        place = folder / f"area-{group % 20:02}" / f"folder-{group:05}"
        place.mkdir(parents=True, exist_ok=True)
        readable = dice.random() < SHARE_OF_TEXT
        path = place / f"file-{number:06}.{'txt' if readable else 'bin'}"
        path.write_bytes(_text(dice, lines, length) if readable else dice.randbytes(length))
        moment = LONG_AGO + dice.randrange(10_000_000)
        os.utime(path, (moment, moment))
        total, text, largest = total + length, text + length * readable, max(largest, length)
    return Shape(files, total, text, largest)


def read(folder: Path) -> None:
    """Read everything once, so that it lies in memory for each contender alike."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass


def _lines(dice: random.Random) -> list[bytes]:
    """Many different lines of words, some words far more frequent than others."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [1 / (rank + 2) for rank in range(len(letters))]
    words = ["".join(dice.choices(letters, weights, k=dice.randrange(2, 11))) for _ in range(WORDS)]
    often = [1 / (rank + 10) for rank in range(WORDS)]
    chosen = iter(dice.choices(words, often, k=LINES * WORDS_IN_A_LINE))
    return [
        b"%06d %s\n" % (number, " ".join(next(chosen) for _ in range(WORDS_IN_A_LINE)).encode())
        for number in range(LINES)
    ]


def _text(dice: random.Random, lines: list[bytes], length: int) -> bytes:
    average = sum(map(len, lines[:1000])) // 1000
    text = b"".join(dice.choices(lines, k=length // average + 10))
    while len(text) < length:
        text += b"".join(dice.choices(lines, k=100))
    return text[:length]

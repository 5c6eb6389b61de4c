"""What restic prints, read while it comes: JSON value by value, in a thread, and never the whole of it in memory.

It takes what restic itself would take of a tree or a search; anything else is an error, never a value.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from pbs.errors import ResticError, TooMuch
from pbs.program import Program

T = TypeVar("T")
CHUNK = 1 << 18
# What stands between two values: brackets, commas, an id.
LONGEST_MARK = 256
_DECODER = json.JSONDecoder()
_NODES = re.compile(r'\s*\{\s*"nodes"\s*:\s*(?:(\[)|null\s*\})')
_OPENING = re.compile(r"\s*\[")
_MATCHES = re.compile(r'[\s,]*\{\s*"matches"\s*:\s*\[')
_FOUND_IN = re.compile(r'\s*\]\s*,\s*"hits"\s*:\s*\d+\s*,\s*"snapshot"\s*:\s*"([0-9a-f]{64})"\s*\}')
_COMMA = re.compile(r"[\s,]*(?=\{)")
_OBJECT = re.compile(r"\s*(?=\{)")
_SPACE = re.compile(r"\s*")
_CLOSING = re.compile(r"\s*\][\s}]*")


class Pieces:
    """JSON that arrives; at most `most` bytes of it are taken. `ended` = everything that there was has been read."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._left = most
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._place = 0
        self.ended = False

    def mark(self, expected: re.Pattern[str]) -> re.Match[str] | None:
        """What stands here, where it is what was expected; it is passed then."""
        while len(self._text) - self._place < LONGEST_MARK and self._more():
            pass
        found = expected.match(self._text, self._place)
        if found is not None:
            self._place = found.end()
        return found

    @property
    def over(self) -> bool:
        """Whether nothing but blanks was left, and now nothing is."""
        self.mark(_SPACE)
        return self.ended and self._place == len(self._text)

    def value(self) -> Any:
        """The next value.

        Raises:
            ResticError: there is none, or none that is whole.
        """
        while True:
            try:
                found, self._place = _DECODER.raw_decode(self._text, self._place)
            except (ValueError, RecursionError):
                # Twice as much each time: a large value is not decoded again for every piece of it.
                if not self._more(max(CHUNK, len(self._text) - self._place)):
                    raise broken() from None
            else:
                return found

    def _more(self, wanted: int = CHUNK) -> bool:
        data = self._file.read(wanted)
        # A pipe gives little at a time: a value of megabytes must not be tried anew for each of these.
        while (
            wanted > CHUNK and data and len(data) < wanted and (piece := self._file.read(wanted - len(data)))
        ):
            data += piece
        self._left -= len(data)
        if self._left < 0:
            raise TooMuch(
                "restic told more than anybody wants to hold",
                "a hostile snapshot can cause this; `pbs restore` and `pbs mount` need no listing",
            )
        self.ended = self.ended or not data
        self._text = self._text[self._place :] + self._decoder.decode(data, final=not data)
        self._place = 0
        return bool(data)


def nodes(pieces: Pieces) -> Iterator[dict[str, Any]] | None:
    """The nodes of a tree, as `restic cat tree` prints it; None where nothing was printed.

    Raises:
        ResticError: it is no tree, or does not go on to its end.
    """
    start = pieces.mark(_NODES)
    if start is not None:
        return _each(pieces) if start[1] else iter(())
    if pieces.over:
        return None
    raise broken()


def _each(pieces: Pieces) -> Iterator[dict[str, Any]]:
    while pieces.mark(_COMMA):
        found = pieces.value()
        if isinstance(found, dict):
            yield found
    if not pieces.mark(_CLOSING):
        raise broken()


def hits(pieces: Pieces) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """What `restic find` prints: each node that it found, and after those of a snapshot None with the snapshot's id.

    Raises:
        ResticError: it is something else.
    """
    if not pieces.mark(_OPENING):
        raise broken()
    while pieces.mark(_MATCHES):
        while pieces.mark(_COMMA):
            found = pieces.value()
            if isinstance(found, dict):
                yield found, ""
        end = pieces.mark(_FOUND_IN)
        if end is None:
            raise broken()
        yield None, end[1]
    if not pieces.mark(_CLOSING):
        raise broken()


def records(pieces: Pieces) -> Iterator[dict[str, Any]]:
    """The objects that `--json` prints one after the other.

    Raises:
        ResticError: it is something else.
    """
    while pieces.mark(_OBJECT):
        found = pieces.value()
        if isinstance(found, dict):
            yield found
    if not pieces.over:
        raise broken()


def broken() -> ResticError:
    """The error where restic's words make no sense."""
    return ResticError(
        "restic says nothing sensible of the snapshot",
        "a damaged repository, or one that a hostile source wrote into, can cause this",
    )


async def read_while(
    program: Program, *arguments: str | bytes, take: Callable[[Pieces], T], seconds: float, most: int
) -> T:
    """What `take` makes of restic's JSON, in a thread; restic is ended as soon as nobody reads on.

    Raises:
        TooMuch: it printed more than `most` bytes.
        ResticError: it failed before everything was read.
        ToolTimeout: the seconds have passed.
    """

    def taken(file: BinaryIO) -> tuple[T, bool]:
        pieces = Pieces(file, most)
        return take(pieces), pieces.ended

    return await piped(program, *arguments, take=taken, seconds=seconds)


async def piped(
    program: Program, *arguments: str | bytes, take: Callable[[BinaryIO], tuple[T, bool]], seconds: float
) -> T:
    """What `take` makes of restic's output, in a thread; it says as well whether it has read it to its end.

    Raises:
        ResticError: it failed before everything was read.
        ToolTimeout: the seconds have passed.
    """
    reading, writing = os.pipe()
    producer = asyncio.create_task(program.run(*arguments, stdout=writing, timeout=seconds), name="restic")
    # Whatever becomes of it, even before it began: the reader sees an end.
    producer.add_done_callback(lambda _: os.close(writing))
    reader = asyncio.ensure_future(asyncio.to_thread(_with_file, reading, take))
    try:
        taken, ended = await asyncio.shield(reader)
        if ended:
            await producer
        return taken
    except ResticError:
        # What restic says of its own failure is better than what we made of its half words.
        if producer.done() and not producer.cancelled() and (failed := producer.exception()) is not None:
            raise failed from None
        raise
    finally:
        producer.cancel()
        await asyncio.wait({producer, reader})
        for task in (producer, reader):
            if not task.cancelled():
                task.exception()  # looked at, so that nobody complains that it was not


def _with_file(reading: int, take: Callable[[BinaryIO], T]) -> T:
    with os.fdopen(reading, "rb", buffering=0) as file:
        return take(file)

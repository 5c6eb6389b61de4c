"""The part of TOML that a profile needs, for Pythons that come without a reader of their own (3.9 and 3.10).

Top-level keys and plain tables; strings of one line, booleans, integers, arrays. Whatever it accepts means the same
in full TOML; what it does not know is an error that names the line, never a guess.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NoReturn

_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)(?![0-9A-Za-z_.:+-])")
_WORD = re.compile(r"(true|false)(?![0-9A-Za-z_-])")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_DEEPEST = 8
_LONGEST_NUMBER = 30


class SubsetError(ValueError):
    """The text is not in the subset; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def loads(text: str) -> Dict[str, Any]:
    """The document as nested dictionaries, equal to what a full TOML reader gives."""
    return _Reader(text.replace("\r\n", "\n")).document()


class _Reader:
    """One pass over the text; `at` is the next character to look at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> Dict[str, Any]:
        root: Dict[str, Any] = {}
        table = root
        while self.skip_lines():
            if self.peek() == "[":
                table = self.header(root)
            else:
                self.pair(table)
            self.end_of_line()
        return root

    def fail(self, message: str) -> NoReturn:
        raise SubsetError(message, self.text.count("\n", 0, self.at) + 1)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip_blanks(self) -> None:
        while self.peek() in (" ", "\t") and self.peek():
            self.at += 1

    def skip_comment(self) -> None:
        if self.peek() != "#":
            return
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        if _FORBIDDEN.search(self.text, self.at, end):
            self.fail("a control character in a comment")
        self.at = end

    def skip_lines(self) -> bool:
        """Go to the next thing that is neither blank nor comment; False at the end of the text."""
        while True:
            self.skip_blanks()
            self.skip_comment()
            if self.peek() != "\n":
                return bool(self.peek())
            self.at += 1

    def end_of_line(self) -> None:
        self.skip_blanks()
        self.skip_comment()
        if self.peek() not in ("", "\n"):
            self.fail("something stands behind the value")

    def key(self) -> str:
        found = _KEY.match(self.text, self.at)
        if not found:
            self.fail("a key of letters, digits, _ and - is expected here")
        self.at = found.end()
        return found.group()

    def header(self, root: Dict[str, Any]) -> Dict[str, Any]:
        self.at += 1
        self.skip_blanks()
        name = self.key()
        self.skip_blanks()
        if self.peek() != "]":
            self.fail("a table is written [name]")
        if name in root:
            self.fail(f"{name} is there twice")
        self.at += 1
        root[name] = {}
        table: Dict[str, Any] = root[name]
        return table

    def pair(self, table: Dict[str, Any]) -> None:
        name = self.key()
        if name in table:
            self.fail(f"{name} is there twice")
        self.skip_blanks()
        if self.peek() != "=":
            self.fail(f"{name} lacks its =")
        self.at += 1
        self.skip_blanks()
        table[name] = self.value(0)

    def value(self, depth: int) -> Any:
        sign = self.peek()
        if sign == '"':
            return self.basic_string()
        if sign == "'":
            return self.literal_string()
        if sign == "[":
            return self.array(depth + 1)
        word = _WORD.match(self.text, self.at) or _INTEGER.match(self.text, self.at)
        if not word:
            self.fail('a "string", true, false, a whole number or a [list] is expected here')
        self.at = word.end()
        text = word.group()
        if len(text) > _LONGEST_NUMBER:
            self.fail("the number is too large")
        return text == "true" if text in ("true", "false") else int(text)

    def array(self, depth: int) -> List[Any]:
        if depth > _DEEPEST:
            self.fail("lists are nested too deep")
        values: List[Any] = []
        self.at += 1
        while self.skip_lines():
            if self.peek() == "]":
                self.at += 1
                return values
            values.append(self.value(depth))
            self.skip_lines()
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != "]":
                self.fail("a , or the ] of the list is missing")
        return self.fail("the ] of the list is missing")

    def literal_string(self) -> str:
        if self.text.startswith("'''", self.at):
            self.fail("strings of several lines are not known here")
        start = self.at + 1
        end = self.text.find("'", start)
        value = self.text[start:end]
        if end < 0 or _FORBIDDEN.search(value):
            self.fail("the string does not end on its line, or holds a control character")
        self.at = end + 1
        return value

    def basic_string(self) -> str:
        if self.text.startswith('"""', self.at):
            self.fail("strings of several lines are not known here")
        parts: List[str] = []
        self.at += 1
        while self.peek() != '"':
            sign = self.peek()
            if not sign or _FORBIDDEN.match(sign):
                self.fail("the string does not end on its line, or holds a control character")
            self.at += 1
            parts.append(self.escape() if sign == "\\" else sign)
        self.at += 1
        return "".join(parts)

    def escape(self) -> str:
        sign = self.peek()
        self.at += 1
        if sign in _ESCAPES:
            return _ESCAPES[sign]
        size = {"u": 4, "U": 8}.get(sign, 0)
        digits = self.text[self.at : self.at + size]
        if not size or not re.fullmatch(r"[0-9A-Fa-f]{%d}" % size, digits):
            self.fail("an unknown \\ sequence; write \\\\ for a backslash, or use 'single quotes'")
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            self.fail("a \\u sequence names no character")
        self.at += size
        return chr(code)

"""Whether a schedule is well written: five cron fields, `every 6h`, `on-notification` or `manual`.

It never works out when a run is due.
"""

from __future__ import annotations

import re

from pbs.text import clean_line, parse_duration

_MONTHS = dict(zip("jan feb mar apr may jun jul aug sep oct nov dec".split(), range(1, 13), strict=True))  # noqa: SIM905
_DAYS = dict(zip("sun mon tue wed thu fri sat".split(), range(7), strict=True))  # noqa: SIM905
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_ITEM = re.compile(r"(\*|[0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?(?:/([0-9]{1,2}))?")


def check_schedule(schedule: str, also: tuple[str, ...] = (), *, notice: bool = True) -> str:
    """The schedule in one spelling: single blanks.

    Raises:
        ValueError: what is wrong, and what would be right; `also` names more words that the field takes.
    """
    words = schedule.split()
    if words in (["manual"], ["on-notification"] if notice else ["manual"]):
        return words[0]
    if len(words) == 2 and words[0] == "every":
        return _every(words[1])
    if len(words) != 5:
        others = ['"every 6h"', *(['"on-notification"'] if notice else []), '"manual"', *also]
        raise ValueError(
            f'"{clean_line(schedule, 60)}" is no schedule; write five cron fields such as "0 * * * *" '
            f"(minute, hour, day, month, day of the week), or {', '.join(others[:-1])} or {others[-1]}"
        )
    sets = [_field(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    both = words[2].startswith("*") or words[4].startswith("*")  # else either of the two fields is enough
    if both and not any(min(sets[2]) <= _LONGEST[month - 1] for month in sets[3]):
        raise ValueError(
            f'"{clean_line(schedule, 60)}" never comes: no such month has that day; write a day that exists'
        )
    return " ".join(words)


def _every(word: str) -> str:
    seconds = parse_duration(word)
    if not 1 <= seconds <= 366 * 86400:
        raise ValueError(
            f'"every {clean_line(word, 40)}" is out of range; write from "every 1s" to "every 366d"'
        )
    return f"every {word}"


def _field(word: str, what: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    values: set[int] = set()
    for item in word.lower().split(","):
        match = _ITEM.fullmatch(item)
        try:
            if match is None or (match[1] == "*" and match[2]):
                raise ValueError
            first = low if match[1] == "*" else _number(match[1], names)
            open_end = match[1] == "*" or (match[3] is not None and match[2] is None)
            last = _number(match[2], names) if match[2] else high if open_end else first
            step = int(match[3] or 1)
            if not (low <= first <= last <= high and step > 0):
                raise ValueError
        except (ValueError, KeyError):
            example = f"{low}-{high}" if not names else f"{low}-{high} or {', '.join(list(names)[:2])} …"
            raise ValueError(
                f'"{clean_line(word, 40)}" is no {what} of a schedule; write *, */5, a number, a list or a range ({example})'
            ) from None
        values.update(range(first, last + 1, step))
    return values


def _number(word: str, names: dict[str, int]) -> int:
    return names[word] if word.isalpha() else int(word)

"""What `keep` may say: a table, or the short spellings that older backup servers used. It never judges snapshots."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from pbs.text import clean_line

COUNTED = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
RULES = (*COUNTED, "within")
_SPAN = re.compile(r"([0-9]{1,5})([yYmMwWdDh])")
_RIGHT = 'write a table such as { last = 3, daily = 14, within = "2d" }, or "2W", "3B", "2y5m7d3h"'
_LARGEST = 100_000


def parse_keep(value: object) -> dict[str, int | str]:
    """The rules by name: counts, and `within` as years, months, days and hours (`2y5m7d3h`). None = keep everything.

    Raises:
        ValueError: what is wrong, and what would be right.
    """
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, Mapping):
        return dict(_rule(str(key), given) for key, given in value.items())
    raise ValueError(f"{clean_line(str(value), 40)} says nothing about what to keep; {_RIGHT}")


def _short(value: str) -> dict[str, int | str]:
    if not value.strip():
        return {}
    last = re.fullmatch(r"([0-9]{1,6})B", value.strip(), re.ASCII)
    if last:
        return dict([_rule("last", int(last[1]))])
    return {"within": span(value.strip())}


def _rule(key: str, value: object) -> tuple[str, int | str]:
    if key == "within":
        if not isinstance(value, str):
            raise ValueError('within takes a span in quotes, such as "2d" or "1y6m"')
        return key, span(value)
    if key not in COUNTED:
        near = difflib.get_close_matches(key, RULES, 1)
        right = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(RULES)}"
        raise ValueError(f'"{clean_line(key, 40)}" is no rule for keeping; {right}')
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise ValueError(
            f"{key} takes a whole number from 1 to {_LARGEST}, not {clean_line(str(value), 40)}; "
            "leave a rule out to keep nothing by it, and leave all out to keep everything"
        )
    return key, value


def span(text: str) -> str:
    """A span in years, months, days and hours: `2W` gives `14d`; large and small letters mean the same.

    Raises:
        ValueError: it is none, or nothing lies in it.
    """
    parts = _SPAN.findall(text)
    units = [unit.lower() for _, unit in parts]
    if not parts or "".join(map("".join, parts)) != text or units != sorted(set(units), key="ymwdh".index):
        raise ValueError(
            f'"{clean_line(text, 40)}" is no span (years y, months m, weeks W, days d, hours h); {_RIGHT}'
        )
    amounts = {unit: int(number) for unit, (number, _) in zip(units, parts, strict=True)}
    amounts["d"] = amounts.get("d", 0) + 7 * amounts.pop("w", 0)
    wanted = [f"{amounts[unit]}{unit}" for unit in "ymdh" if amounts.get(unit)]
    if not wanted:
        raise ValueError(f'"{clean_line(text, 40)}" holds no time at all; {_RIGHT}')
    return "".join(wanted)

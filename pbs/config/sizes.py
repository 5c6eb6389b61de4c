"""The kinds of values that are sizes and rates: each says what is wrong and what would be right, or gives bytes."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from pbs.config.kinds import percent, shown, text
from pbs.text import parse_size

LEAST_LOGS = 10_000_000
LEAST_READ = 1_000_000
MOST_RESERVE_PERCENT = 50


def _size(value: object) -> int | None:
    if value == "none":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        count = value
    else:
        count = parse_size(text(value, "200GB"))
    if not 0 < count < 2**63:
        raise ValueError(
            f'{shown(value)} leaves no room; write a size such as "200GB", or "none" for no quota'
        )
    return count


def _budget(value: object) -> int | None:
    count = _size(value)
    if count is not None and count < LEAST_READ:
        raise ValueError(f'{shown(value)} is too little for any backup; write "100MB" or more, or "none"')
    return count


def _reserve(value: object) -> tuple[int, int]:
    """Bytes, or per cent."""
    if isinstance(value, str) and value.endswith("%"):
        share = percent(value)
        if share > MOST_RESERVE_PERCENT:
            raise ValueError(
                f'{shown(value)} would leave too little for backups; write "50%" or less, or a size'
            )
        return 0, share
    return _size(value) or 0, 0


def _log_size(value: object) -> int:
    count = _size(value)
    if count is None or count < LEAST_LOGS:
        raise ValueError(f'{shown(value)} is too little for logs; write a size of "10MB" or more')
    return count


def _rate(value: object) -> int:
    right = 'write bytes per second, such as "20MB/s" or "512KiB/s"'
    if not isinstance(value, str) or not value.endswith("/s"):
        raise ValueError(f"{shown(value)} is no rate; {right}")
    try:
        rate = parse_size(value.removesuffix("/s"))
    except ValueError:
        raise ValueError(f"{shown(value)} is no rate; {right}") from None
    if not 1000 <= rate < 2**63:
        raise ValueError(f"{shown(value)} is no rate that a backup could use; {right}, at least 1KB/s")
    return rate


Quota = Annotated[int | None, PlainValidator(_size), WithJsonSchema({"type": ["string", "integer"]})]
Budget = Annotated[int | None, PlainValidator(_budget), WithJsonSchema({"type": ["string", "integer"]})]
Reserve = Annotated[
    tuple[int, int], PlainValidator(_reserve), WithJsonSchema({"type": ["string", "integer"]})
]
Rate = Annotated[int, PlainValidator(_rate), WithJsonSchema({"type": "string"})]
LogSize = Annotated[int, PlainValidator(_log_size), WithJsonSchema({"type": ["string", "integer"]})]

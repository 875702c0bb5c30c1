"""Conversions between domain values and column values, shared by all stores.

- An instant becomes microseconds since 1970-01-01 UTC, exactly, and back.
- A text that a database would refuse (NUL, lone surrogate) is repaired, so that odd headers never refuse good mail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
T = TypeVar("T")


def micros(instant: datetime) -> int:
    """Give microseconds since the epoch of a timezone-aware instant; raises TypeError when it is naive."""
    return (instant - EPOCH) // _MICROSECOND


def instant(value: int) -> datetime:
    """Give the UTC instant of a count of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=value)


def storable(text: str, limit: int = 4096) -> str:
    """Give a text of at most `limit` characters that every engine stores: no NUL, no lone surrogate."""
    if len(text) > limit:
        text = text[:limit]
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Give slices of at most `size` values."""
    for start in range(0, len(values), size):
        yield values[start:start + size]

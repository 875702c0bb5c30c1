"""Dates of header fields (RFC 5322 §3.3): read leniently, written strictly.

- `parse_date` never raises and is linear; a date that does not exist gives None.
- Called by mime.imapview (facts), mime.compose and reports.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MONTHS = {name: number for number, name in enumerate(
    (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)}
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ZONES = {b"EST": -300, b"EDT": -240, b"CST": -360, b"CDT": -300, b"MST": -420, b"MDT": -360, b"PST": -480,
          b"PDT": -420}
_DATE = re.compile(rb"[ \t]*(?:[A-Za-z]{3,9}[ \t]*,)?[ \t]*([0-9]{1,2})[ \t\-]+([A-Za-z]{3})[A-Za-z]{0,6}[ \t\-]+"
                   rb"([0-9]{2,4})[ \t,]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?(?:\.[0-9]{1,9})?[ \t]*"
                   rb"([+\-][0-9]{4}|[A-Za-z]{1,5})?")


def parse_date(value: bytes | None) -> datetime | None:
    """Give the instant of a Date value in UTC, or None when it cannot be read (obsolete zones included, §4.3)."""
    found = _DATE.match(value[:200]) if value else None
    if found is None:
        return None
    day, month, year, hour, minute, second, zone = found.groups()
    number = _MONTHS.get(month.lower(), 0)
    full_year = int(year)
    if len(year) == 2:
        full_year += 2000 if full_year < 50 else 1900
    elif len(year) == 3:
        full_year += 1900
    try:
        # A leap second is read as the second before it: datetime has none.
        whole = 59 if second == b"60" else int(second or 0)
        return datetime(full_year, number, int(day), int(hour), int(minute), whole, tzinfo=UTC) - _offset(zone)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _offset(zone: bytes | None) -> timedelta:
    """Give the offset east of UTC; unknown names and military letters count as UTC (RFC 5322 §4.3)."""
    if not zone:
        return timedelta(0)
    if zone[:1] in b"+-":
        minutes = int(zone[1:3]) * 60 + int(zone[3:5])
        return timedelta(minutes=-minutes if zone[:1] == b"-" else minutes)
    return timedelta(minutes=_ZONES.get(zone.upper(), 0))


def format_date(instant: datetime) -> bytes:
    """Give the RFC 5322 §3.3 form of an aware datetime, in its own offset, without locale."""
    return _format_second(instant.replace(microsecond=0), instant.utcoffset() or timedelta(0))


@lru_cache(maxsize=16)  # all messages of a second share their date: 5 µs each; equal instants may stand in two offsets
def _format_second(instant: datetime, offset: timedelta) -> bytes:
    minutes = int(offset.total_seconds()) // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return (f"{_DAY_NAMES[instant.weekday()]}, {instant.day:02d} {_MONTH_NAMES[instant.month - 1]} {instant.year:04d} "
            f"{instant.hour:02d}:{instant.minute:02d}:{instant.second:02d} {sign}{minutes // 60:02d}{minutes % 60:02d}"
            ).encode("ascii")

"""Parts of dates for `date` and `currentdate` (RFC 5260 §4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from mssante.protocol.mime.dates import format_date, parse_date

_ZONE = re.compile(r"([+-])([0-9]{2})([0-5][0-9])\Z")
_ZONE_AT_END = re.compile(r"([+-][0-9]{4})(?:[ \t]*\([^()]*\))?[ \t]*\Z")
_MODIFIED_JULIAN = 678_576  # of the ordinal 0 of Python's calendar: MJD 0 is 1858-11-17


def read_zone(text: str) -> timezone | None:
    """Give an offset written `+hhmm`, None when it is not one."""
    found = _ZONE.match(text)
    if found is None or int(found.group(2)) > 23:
        return None
    offset = timedelta(hours=int(found.group(2)), minutes=int(found.group(3)))
    return timezone(-offset if found.group(1) == "-" else offset)


def read_header_date(value: str) -> datetime | None:
    """Give the instant of a field, in its own offset: the whole value, or what follows the last semicolon (RFC 5260 §4)."""
    text = value.rpartition(";")[2].strip() if ";" in value else value
    instant = parse_date(text.encode("utf-8", "replace"))
    if instant is None:
        return None
    ending = _ZONE_AT_END.search(text)
    zone = read_zone(ending.group(1)) if ending else None
    try:
        return instant.astimezone(zone or UTC)
    except (OverflowError, ValueError):
        return None


def zone_text(moment: datetime) -> str:
    """Give the offset as `+hhmm`."""
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"


def _iso(moment: datetime) -> str:
    zone = zone_text(moment)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{zone[:3]}:{zone[3:]}"


PARTS: dict[str, Callable[[datetime], str]] = {
    "year": lambda at: f"{at.year:04d}", "month": lambda at: f"{at.month:02d}", "day": lambda at: f"{at.day:02d}",
    "date": lambda at: f"{at.year:04d}-{at.month:02d}-{at.day:02d}", "julian": lambda at: str(at.toordinal() - _MODIFIED_JULIAN),
    "hour": lambda at: f"{at.hour:02d}", "minute": lambda at: f"{at.minute:02d}", "second": lambda at: f"{at.second:02d}",
    "time": lambda at: f"{at.hour:02d}:{at.minute:02d}:{at.second:02d}", "iso8601": _iso,
    "std11": lambda at: format_date(at).decode("ascii"), "zone": zone_text,
    "weekday": lambda at: str(at.isoweekday() % 7),
}

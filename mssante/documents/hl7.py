"""Small HL7 forms shared by CDA headers and XDS metadata: time stamps, escaping, identifiers, names.

Pure text to text. Called by `cda`, `metadata` and `xdm`; knows no document.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

MAX_VALUE = 256  # ebRIM 3.0 LongName: the longest value of a slot
STRUCTURE_OID = "1.2.250.1.71.4.2.2"  # ans-data §2
PROFESSIONAL_OID = "1.2.250.1.71.4.2.1"

_STAMP = re.compile(r"(\d{4,14})(?:\.\d{1,6})?(?:([+-])(\d{1,4}))?\Z")
_ESCAPES = {"\\": "\\E\\", "^": "\\S\\", "&": "\\T\\", "|": "\\F\\", "~": "\\R\\"}
_UNESCAPES = {"E": "\\", "S": "^", "T": "&", "F": "|", "R": "~"}


def parse_stamp(text: str) -> datetime | None:
    """Read an HL7 TS with at least hour precision and an offset into UTC; None for anything else.

    A sloppy offset of one to three digits seen in the field (`+100`) is read as if its zeros had not been lost.
    """
    match = _STAMP.match(text)
    if match is None or match.group(2) is None or len(match.group(1)) not in (10, 12, 14):
        return None
    digits, sign, offset = match.groups()
    hours, minutes = _offset(offset)
    try:
        local = datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        shift = timedelta(hours=hours, minutes=minutes)
        return local - shift if sign == "+" else local + shift
    except (ValueError, OverflowError):
        return None


def _offset(text: str) -> tuple[int, int]:
    if len(text) <= 2:
        return int(text), 0
    padded = text.rjust(4, "0")
    return int(padded[:2]), int(padded[2:])


def utc_digits(text: str) -> str:
    """Give a TS as XDS wants it: `AAAAMMJJhhmmss` in UTC without offset (ITI-TF 3 §4.2.3.1.7 DTM).

    A date alone, or a time without offset, keeps its digits as they stand; not a TS at all gives an empty string.
    """
    moment = parse_stamp(text)
    if moment is not None:
        return f"{moment.year:04d}{moment:%m%d%H%M%S}"
    match = _STAMP.match(text)
    return match.group(1) if match else ""


def parse_date(text: str) -> date | None:
    """Read the day of a TS (`AAAAMMJJ…`), or None."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text[:8].isdecimal() else None
    except ValueError:
        return None


def escape(text: str) -> str:
    """Escape the five delimiters inside a component (HL7 v2 §2.7.1)."""
    return "".join(_ESCAPES.get(char, char) for char in text)


def unescape(text: str) -> str:
    """Undo `escape`; unknown sequences stay as they are."""
    return re.sub(r"\\([ESTFR])\\", lambda match: _UNESCAPES[match.group(1)], text)


def cx(number: str, root: str, kind: str) -> str:
    """Give `<number>^^^&<root>&ISO^<kind>` (HL7 CX; kind `NH` for an INS, `PI` for an IPP)."""
    return f"{escape(number)}^^^&{root}&ISO^{kind}"


def read_cx(text: str) -> tuple[str, str]:
    """Give (number, root) of a CX, empty strings for what is missing; a miscounted separator is forgiven."""
    parts = text.split("^")
    authority = next((part.split("&") for part in parts[1:] if "&" in part), [""])
    return unescape(parts[0]), authority[1] if len(authority) > 1 else ""


def xcn(number: str, root: str, family: str, given: str, kind: str) -> str:
    """Give a person: `<id>^NAME^Given^^^^^^&<root>&ISO^D^^^<kind>` (HL7 XCN), names shortened to fit a slot."""
    tail = f"^^^^^^&{root}&ISO^D^^^{kind}" if number else ""
    room = max(0, MAX_VALUE - len(tail) - len(escape(number)) - 2)
    names = _fit(family, room)
    return f"{escape(number)}^{names}^{_fit(given, room - len(names))}{tail}"


def xon(name: str, number: str, root: str) -> str:
    """Give a structure: `Name^^^^^&<root>&ISO^IDNST^^^<id>` (HL7 XON), the name shortened to fit a slot."""
    if not number:
        return _fit(name, MAX_VALUE)
    tail = f"^^^^^&{root}&ISO^{'IDNST' if root == STRUCTURE_OID else 'EI'}^^^{escape(number)}"
    return _fit(name, MAX_VALUE - len(tail)) + tail


def _fit(text: str, room: int) -> str:
    """Escape `text`, shortened so that the result is at most `room` characters and cuts no escape sequence."""
    out: list[str] = []
    for char in text[:MAX_VALUE]:
        piece = _ESCAPES.get(char, char)
        room -= len(piece)
        if room < 0:
            break
        out.append(piece)
    return "".join(out)


def luhn_ok(digits: str) -> bool:
    """True when a number of decimal digits passes the Luhn check (RPPS, FINESS, SIREN, SIRET: ans-data §2)."""
    if not (digits.isascii() and digits.isdigit()):
        return False
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0

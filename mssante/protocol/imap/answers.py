"""What another IMAP server answers to us, read as values: LIST, NAMESPACE and FETCH lines (RFC 9051 §7).

- Input is the answer as a client library cuts it: lines without their end, each literal apart (`bytearray`).
- Lenient where servers differ, strict where a wrong reading would mix messages up: an answer without UID is dropped.
- Never raises on any octets. Called by transport/imap_source.py; the server side of the grammar is not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mssante.model.message import Flags
from mssante.protocol.mime.maildir import decoded
from mssante.protocol.mime.mbox import is_keyword

Piece = bytes | bytearray
_STRING = rb'"((?:[^"\\\r\n]|\\.)*)"'
_LIST = re.compile(rb'\(([^()]*)\) (?:NIL|"(\\?.)") (?:' + _STRING + rb'|(\{[0-9]+\+?\})|([^\s"]+))')
_NAMESPACE = re.compile(rb'\(\(' + _STRING + rb' (?:NIL|"(\\?.)")')
_FETCH = re.compile(rb"[0-9]+ FETCH \(")
_UID = re.compile(rb"[ (]UID ([0-9]{1,10})(?![0-9])")
_SIZE = re.compile(rb"[ (]RFC822\.SIZE ([0-9]{1,19})")
_FLAGS = re.compile(rb"[ (]FLAGS \(([^()]*)\)")
_DATE = re.compile(rb'[ (]INTERNALDATE "([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) '
                   rb'([+-])([0-9]{2})([0-9]{2})"')
_BODY = re.compile(rb"[ (]BODY\[\](?:<[0-9]+>)? (?:(NIL)|" + _STRING + rb")")
_MONTHS = {name: rank for rank, name in enumerate(
    (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)}
_SYSTEM = {"\\seen": Flags.SEEN, "\\answered": Flags.ANSWERED, "\\flagged": Flags.FLAGGED, "\\deleted": Flags.DELETED,
           "\\draft": Flags.DRAFT}


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """One LIST line. raw: the name as it must be said to that server; levels: as text, cut at its delimiter."""

    raw: bytes
    levels: tuple[str, ...]
    attributes: frozenset[str]
    delimiter: str

    @property
    def selectable(self) -> bool:
        """False for a name that holds no message (RFC 9051 §7.3.1)."""
        return not self.attributes & {"\\noselect", "\\nonexistent"}


@dataclass(frozen=True, slots=True)
class FetchedMessage:
    """One FETCH answer; octets is None when it holds no BODY[]."""

    uid: int
    flags: int
    keywords: tuple[str, ...]
    internal_date: datetime | None
    size: int
    octets: bytes | None


def _unescaped(raw: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", raw)


def read_list(lines: Sequence[Piece]) -> Iterator[ListedFolder]:
    """Give the folders of a LIST answer, in the order of the server."""
    for place, line in enumerate(lines):
        found = _LIST.match(line) if isinstance(line, bytes) else None
        if found is None:
            continue
        attributes, delimiter, quoted, literal, atom = found.groups()
        if literal is not None:
            following = lines[place + 1] if place + 1 < len(lines) else b""
            raw = bytes(following)
        else:
            raw = _unescaped(quoted) if quoted is not None else atom
        mark = _unescaped(delimiter).decode("latin-1") if delimiter else ""
        text = raw.decode("utf-8", "surrogateescape")
        levels = tuple(decoded(level) for level in (text.split(mark) if mark else [text]))
        yield ListedFolder(raw, levels, frozenset(attributes.decode("ascii", "replace").lower().split()), mark)


def read_personal_prefix(lines: Sequence[Piece]) -> str:
    """Give the prefix of the first personal namespace (RFC 9051 §6.3.10), empty when there is none."""
    for line in lines:
        found = _NAMESPACE.match(line) if isinstance(line, bytes) else None
        if found is not None:
            return _unescaped(found[1]).decode("utf-8", "surrogateescape")
    return ""


def read_fetch(lines: Sequence[Piece]) -> Iterator[FetchedMessage]:
    """Give the messages of a FETCH answer; what has no UID is dropped."""
    group: list[Piece] = []
    for line in lines:
        if isinstance(line, bytes) and _FETCH.match(line):
            yield from _message(group)
            group = []
        group.append(line)
    yield from _message(group)


def _message(group: Sequence[Piece]) -> Iterator[FetchedMessage]:
    if not group or not isinstance(group[0], bytes) or not _FETCH.match(group[0]):
        return
    text = b"".join(one for one in group if isinstance(one, bytes))
    uid = _UID.search(text)
    if uid is None:
        return
    literals = [one for one in group if isinstance(one, bytearray)]
    octets: bytes | None = bytes(literals[0]) if literals else None
    body = None if literals else _BODY.search(text)
    if body is not None:
        octets = b"" if body[1] else _unescaped(body[2])
    size = _SIZE.search(text)
    flags, keywords = read_flags(text)
    yield FetchedMessage(int(uid[1]), flags, keywords, read_internal_date(text), int(size[1]) if size else 0, octets)


def read_flags(text: bytes) -> tuple[int, tuple[str, ...]]:
    """Give (system flags, keywords) of a FETCH answer; flags that we cannot keep are left out."""
    found = _FLAGS.search(text)
    flags, keywords = 0, []
    for word in found[1].decode("ascii", "replace").split() if found else ():
        if word.startswith("\\"):
            flags |= _SYSTEM.get(word.lower(), 0)
        elif is_keyword(word):
            keywords.append(word)
    return flags, tuple(dict.fromkeys(keywords))


def read_internal_date(text: bytes) -> datetime | None:
    """Give the INTERNALDATE of a FETCH answer in UTC, or None (RFC 9051 §9 date-time)."""
    found = _DATE.search(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
    try:
        local = datetime(int(year), _MONTHS.get(month.lower(), 0), int(day), int(hour), int(minute),
                         min(int(second), 59), tzinfo=UTC)
        return local + offset if sign == b"-" else local - offset
    except (ValueError, OverflowError):
        return None

"""The tree of a SEARCH (RFC 9051 §6.4.4): one frozen class per kind of key.

Built by `commands/search.py`, walked by `services/imap/search.py`. Texts are decoded; dates have neither time nor
zone. Also importable from `protocol.imap.values`, with all other values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from mssante.protocol.imap.numset import NumSet


@dataclass(frozen=True, slots=True)
class Everything:
    """ALL."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every key matches; never empty."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """OR."""

    left: SearchKey
    right: SearchKey


@dataclass(frozen=True, slots=True)
class NotKey:
    """NOT."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class InSet:
    """A sequence set, or UID with a set; `$` when `numbers.saved` (RFC 5182)."""

    numbers: NumSet
    uid: bool


@dataclass(frozen=True, slots=True)
class FlagKey:
    """One system flag is set (present) or not: ANSWERED, UNSEEN…; flag is a mask of one bit. RECENT is that of the session."""

    flag: int
    present: bool


@dataclass(frozen=True, slots=True)
class KeywordKey:
    """KEYWORD, UNKEYWORD; compare without case."""

    keyword: str
    present: bool


class TextPlace(StrEnum):
    """Where TextKey looks. BODY: decoded body; TEXT: header and body; the others: one header field."""

    BODY = "BODY"
    TEXT = "TEXT"
    BCC = "BCC"
    CC = "CC"
    FROM = "FROM"
    SUBJECT = "SUBJECT"
    TO = "TO"


@dataclass(frozen=True, slots=True)
class TextKey:
    """Substring without case (RFC 9051 §6.4.4). An empty text matches everything that has the place."""

    place: TextPlace
    text: str


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """HEADER field text; empty text: the field is present."""

    field: str
    text: str


class DateRelation(StrEnum):
    """BEFORE, ON, SINCE (RFC 9051 §6.4.4), on dates without time and zone."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


@dataclass(frozen=True, slots=True)
class DateKey:
    """sent: the Date header, else INTERNALDATE."""

    relation: DateRelation
    day: date
    sent: bool


@dataclass(frozen=True, slots=True)
class SizeKey:
    """LARGER (larger True: size > octets) or SMALLER (size < octets)."""

    octets: int
    larger: bool


@dataclass(frozen=True, slots=True)
class ModSeqKey:
    """MODSEQ n (RFC 7162 §3.1.5): modseq >= value; metadata item names are read and ignored."""

    value: int


@dataclass(frozen=True, slots=True)
class WithinKey:
    """YOUNGER (older False: received at most `seconds` ago) and OLDER (at least), by INTERNALDATE (RFC 5032 §3)."""

    seconds: int
    older: bool


@dataclass(frozen=True, slots=True)
class SavedKey:
    """SAVEDBEFORE, SAVEDON, SAVEDSINCE (RFC 8514 §4.3): when the message came into this folder."""

    relation: DateRelation
    day: date


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """EMAILID (thread False) and THREADID (RFC 8474 §6). identity compares with case."""

    identity: str
    thread: bool


@dataclass(frozen=True, slots=True)
class FuzzyKey:
    """FUZZY (RFC 6203 §3): texts of the key inside match word by word; matches have a score."""

    key: SearchKey


SearchKey = (
    Everything | AllOf | AnyOf | NotKey | InSet | FlagKey | KeywordKey | TextKey | HeaderKey
    | DateKey | SizeKey | ModSeqKey | WithinKey | SavedKey | ObjectKey | FuzzyKey
)


def parts(key: SearchKey) -> Iterator[SearchKey]:
    """Give a key and every key inside it."""
    pending = [key]
    while pending:
        one = pending.pop()
        yield one
        match one:
            case AllOf(keys):
                pending.extend(keys)
            case AnyOf(left, right):
                pending += (left, right)
            case NotKey(inner) | FuzzyKey(inner):
                pending.append(inner)

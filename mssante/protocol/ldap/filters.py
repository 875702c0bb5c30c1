"""Search filters (RFC 4511 §4.5.1.7): read from BER within limits, matched against attributes, turned into words to search.

- Matching has three values (RFC 4511 §4.5.1): a comparison with what the entry lacks is undefined, so is its negation.
- Text is compared without case nor accents. `anr` (Outlook) stands for the names and the address, each word by its start.
- `searches` gives the word lists that together find everything a filter could match, as far as words can; the caller matches
  what it found. A filter that no word narrows gives an empty text, which the caller must not serve.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from mssante.protocol.ldap.ber import Reader, malformed

MAX_DEPTH = 12
MAX_NODES = 200
MAX_SEARCHES = 8
MAX_TEXT = 200
NAMES = ("cn", "sn", "givenname", "displayname", "mail", "o", "ou")
_AND, _OR, _NOT, _EQUAL, _PARTS, _PRESENT, _APPROXIMATE = 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0x87, 0xA8
Attributes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Filter:
    """One node. kind: its BER tag; parts: of and, or, not; name: lower-case attribute; start, middle, end: of a substring, and
    start alone the value of a comparison."""

    kind: int
    parts: tuple[Filter, ...] = ()
    name: str = ""
    start: str = ""
    middle: tuple[str, ...] = ()
    end: str = ""


def fold(text: str) -> str:
    """Give text without case and accents, spaces made one."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return " ".join(plain.casefold().split())


def read_filter(reader: Reader) -> Filter:
    """Give the filter that comes next. Raises LdapFault beyond `MAX_DEPTH` levels or `MAX_NODES` nodes."""
    return _read(reader, 0, [0])


def _read(reader: Reader, depth: int, count: list[int]) -> Filter:
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_NODES:
        raise malformed("filter too deep or too long")
    kind = reader.tag
    if kind == _PRESENT:
        return Filter(kind, name=reader.text(kind).lower())
    inner = Reader(reader.take(_AND, _OR, _NOT, _EQUAL, _PARTS, 0xA5, 0xA6, _APPROXIMATE, 0xA9))
    if kind in (_AND, _OR, _NOT):
        parts = []
        while inner.tag:
            parts.append(_read(inner, depth + 1, count))
        if kind == _NOT and len(parts) != 1:
            raise malformed("not of several")
        return Filter(kind, tuple(parts))
    if kind == 0xA9:  # extensible match: none of ours, undefined (RFC 4511 §4.5.1.7.7)
        return Filter(kind)
    name = inner.text().lower().partition(";")[0]
    return _substring(name, Reader(inner.take(0x30))) if kind == _PARTS else Filter(kind, name=name, start=inner.text())


def _substring(name: str, reader: Reader) -> Filter:
    found: dict[int, list[str]] = {0x80: [], 0x81: [], 0x82: []}
    last = 0
    while reader.tag:
        tag = reader.tag
        if tag < last or (tag == last != 0x81):
            raise malformed("substring order")
        found.setdefault(tag, []).append(reader.text(0x80, 0x81, 0x82))
        last = tag
    if not last:
        raise malformed("empty substring")
    return Filter(_PARTS, name=name, start="".join(found[0x80]), middle=tuple(found[0x81]), end="".join(found[0x82]))


def matches(filter_: Filter, attributes: Attributes) -> bool | None:
    """Tell whether attributes (lower-case names) match; None when it is undefined."""
    if filter_.kind in (_AND, _OR):
        told = [matches(part, attributes) for part in filter_.parts]
        decisive = filter_.kind == _OR
        return decisive if decisive in told else None if None in told else not decisive
    if filter_.kind == _NOT:
        inner = matches(filter_.parts[0], attributes)
        return None if inner is None else not inner
    if filter_.kind == _PRESENT:
        return filter_.name in attributes
    if filter_.name == "anr" and filter_.kind in (_EQUAL, _PARTS, _APPROXIMATE):
        return _ambiguous(filter_, attributes)
    values = attributes.get(filter_.name)
    if values is None or filter_.kind not in (_EQUAL, _PARTS, _APPROXIMATE):
        return None
    return any(_one(filter_, fold(value)) for value in values)


def _one(filter_: Filter, value: str) -> bool:
    if filter_.kind != _PARTS:
        return value == fold(filter_.start)
    start, end = fold(filter_.start), fold(filter_.end)
    if not value.startswith(start):
        return False
    at = len(start)
    for part in filter_.middle:
        found = value.find(fold(part), at)
        if found < 0:
            return False
        at = found + len(fold(part))
    return value.endswith(end) and len(value) - len(end) >= at


def _ambiguous(filter_: Filter, attributes: Attributes) -> bool:
    words = [word for name in NAMES for value in attributes.get(name, ()) for word in (fold(value), *fold(value).split())]
    return all(any(word.startswith(asked) for word in words) for asked in fold(_text(filter_)).lstrip("=").split())


def _text(filter_: Filter) -> str:
    return " ".join(part for part in (filter_.start, *filter_.middle, filter_.end) if part)


def searches(filter_: Filter) -> tuple[str, ...]:
    """Give at most `MAX_SEARCHES` texts to search; an empty one when the filter is not narrowed by words."""
    return tuple(dict.fromkeys(text[:MAX_TEXT] for text in _searches(filter_)))[:MAX_SEARCHES]


def _searches(filter_: Filter) -> list[str]:
    if filter_.kind == _OR:
        return list(dict.fromkeys(text for part in filter_.parts for text in _searches(part)))[:MAX_SEARCHES]
    if filter_.kind == _AND:
        texts = [""]
        for part in filter_.parts:
            joined = [" ".join(dict.fromkeys(f"{one} {other}".split())) for one in texts for other in _searches(part)]
            texts = list(dict.fromkeys(joined))[:MAX_SEARCHES] or [""]
        return texts
    if filter_.kind in (_EQUAL, _PARTS, _APPROXIMATE) and filter_.name in (*NAMES, "anr", "uid", "l", "postalcode", "title"):
        return [fold(_text(filter_)).lstrip("=")]
    return [""]

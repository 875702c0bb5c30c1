"""Search filters (RFC 4511 §4.5.1.7): read from BER within limits, matched against attributes, turned into words to search.

- Matching has three values (RFC 4511 §4.5.1): a comparison with what the entry lacks is undefined, so is its negation.
- Text is compared without case, accents nor ligatures, that of names without punctuation too: `jean pierre` is `Jean-Pierre`.
  `anr` (Outlook) stands for the names and the address, each word by its start. Several words in a substring of `cn` are what a
  person types into an address field: they match as well, in any order, when each begins a word of `WORDS` (where it is given).
- `searches` gives the word lists that together find everything a filter could match, as far as words can; the caller matches
  what it found. A filter that no word narrows gives an empty text, which the caller must not serve.
- Values are folded once, when the filter is read, and at most `MAX_VALUE` characters long: matching a row costs what its own
  text costs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from mssante.protocol.ldap.ber import Reader, malformed

MAX_DEPTH = 12
MAX_NODES = 200
MAX_SEARCHES = 8
MAX_TEXT = 200
MAX_VALUE = 1000
NAMES = ("cn", "sn", "givenname", "displayname", "mail", "o", "ou")
_AND, _OR, _NOT, _EQUAL, _PARTS, _PRESENT, _APPROXIMATE = 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0x87, 0xA8
Attributes = Mapping[str, tuple[str, ...]]
WORDS = "\0words"  # not an attribute: all words under which the entry is known
_COMPLETED = frozenset({"cn", "displayname"})
_EXACT = frozenset({"mail", "uid", "objectclass", "employeetype", "postalcode"})  # punctuation counts
_LIGATURES = str.maketrans({"œ": "oe", "Œ": "oe", "æ": "ae", "Æ": "ae", "ø": "o", "Ø": "o", "ł": "l", "Ł": "l"})
_PUNCTUATION = re.compile(r"[^\w ]+|_+")


@dataclass(frozen=True, slots=True)
class Filter:
    """One node. kind: its BER tag; parts: of and, or, not; name: lower-case attribute; start, middle, end: of a substring, and
    start alone the value of a comparison, all folded."""

    kind: int
    parts: tuple[Filter, ...] = ()
    name: str = ""
    start: str = ""
    middle: tuple[str, ...] = ()
    end: str = ""


def fold(text: str) -> str:
    """Give text without case, accents and ligatures, spaces made one."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_LIGATURES))
        text = "".join(char for char in text if not unicodedata.combining(char))
    return " ".join(text.casefold().split())


def folded(attributes: Attributes, names: Collection[str] | None = None) -> Attributes:
    """Give attributes as `matches` takes them: lower-case names, folded values. names: those wanted, None for all."""
    return {name.lower(): tuple(map(fold, values)) for name, values in attributes.items()
            if names is None or name.lower() in names}


def names_of(filter_: Filter) -> frozenset[str]:
    """Give the lower-case names of the attributes that it looks at."""
    own = NAMES if filter_.name == "anr" else (filter_.name,)
    return frozenset(own).union(*map(names_of, filter_.parts))


def _value(text: str) -> str:
    if len(text) > MAX_VALUE:
        raise malformed("value too long")
    return fold(text)


def _bare(text: str) -> str:
    return " ".join(_PUNCTUATION.sub(" ", text).split())


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
    return _substring(name, Reader(inner.take(0x30))) if kind == _PARTS else Filter(kind, name=name, start=_value(inner.text()))


def _substring(name: str, reader: Reader) -> Filter:
    found: dict[int, list[str]] = {0x80: [], 0x81: [], 0x82: []}
    last = 0
    while reader.tag:
        tag = reader.tag
        if tag < last or (tag == last != 0x81):
            raise malformed("substring order")
        found.setdefault(tag, []).append(_value(reader.text(0x80, 0x81, 0x82)))
        last = tag
    if not last:
        raise malformed("empty substring")
    return Filter(_PARTS, name=name, start="".join(found[0x80]), middle=tuple(found[0x81]), end="".join(found[0x82]))


def matches(filter_: Filter, attributes: Attributes) -> bool | None:
    """Tell whether attributes (`folded`) match; None when it is undefined."""
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
    if _typed(filter_) and WORDS in attributes and _all_begin(filter_, attributes[WORDS]):
        return True
    values = attributes.get(filter_.name)
    if values is None or filter_.kind not in (_EQUAL, _PARTS, _APPROXIMATE):
        return None
    return any(_one(filter_, value) for value in values) or (filter_.name not in _EXACT and _loosely(filter_, values))


def _one(filter_: Filter, value: str) -> bool:
    if filter_.kind != _PARTS:
        return value == filter_.start
    if not value.startswith(filter_.start):
        return False
    at = len(filter_.start)
    for part in filter_.middle:
        found = value.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return value.endswith(filter_.end) and len(value) - len(filter_.end) >= at


def _loosely(filter_: Filter, values: tuple[str, ...]) -> bool:
    """Compare once more without punctuation, where there is any and something is left to compare."""
    if not any(map(_PUNCTUATION.search, (*values, filter_.start, *filter_.middle, filter_.end))):
        return False
    bare = replace(filter_, start=_bare(filter_.start), middle=tuple(map(_bare, filter_.middle)), end=_bare(filter_.end))
    return bool(_text(bare)) and any(_one(bare, _bare(value)) for value in values)


def _ambiguous(filter_: Filter, attributes: Attributes) -> bool:
    values = [value for name in NAMES for value in attributes.get(name, ())]
    words = {word for value in values for word in (value, *value.split(), *_bare(value).split())}
    return all(any(word.startswith(asked) for word in words) for asked in _text(filter_).lstrip("=").split())


def _typed(filter_: Filter) -> bool:
    return filter_.kind == _PARTS and filter_.name in _COMPLETED and " " in _text(filter_)


def _all_begin(filter_: Filter, words: Iterable[str]) -> bool:
    held = tuple(words)
    return all(any(word.startswith(asked) for word in held) for asked in _bare(_text(filter_)).split())


def needs_words(filter_: Filter) -> bool:
    """Tell if `WORDS` may change what it matches."""
    return _typed(filter_) or any(needs_words(part) for part in filter_.parts)


def _text(filter_: Filter) -> str:
    return " ".join(part for part in (filter_.start, *filter_.middle, filter_.end) if part)


def searches(filter_: Filter) -> tuple[str, ...]:
    """Give texts to search, those of most words first, an empty one when the filter is not narrowed by words; more than
    `MAX_SEARCHES` when that many do not find everything."""
    texts = dict.fromkeys(text[:MAX_TEXT] for text in _searches(filter_))
    return tuple(sorted(texts, key=lambda text: -len(text.split())))


def _searches(filter_: Filter) -> list[str]:
    most = MAX_SEARCHES + 1
    if filter_.kind == _OR:
        return list(dict.fromkeys(text for part in filter_.parts for text in _searches(part)))[:most]
    if filter_.kind == _AND:
        texts = [""]
        for part in filter_.parts:
            joined = [" ".join(dict.fromkeys(f"{one} {other}".split())) for one in texts for other in _searches(part)]
            texts = list(dict.fromkeys(joined))[:most]
        return texts
    if filter_.kind in (_EQUAL, _PARTS, _APPROXIMATE) and filter_.name in (*NAMES, "anr", "uid", "l", "postalcode", "title"):
        return [_text(filter_).lstrip("=")]
    return [""]

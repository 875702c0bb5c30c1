"""Filters of an addressbook-query against the properties of a card (RFC 6352 §10.5), and the words that narrow them down.

- `i;octet` and `i;ascii-casemap` compare as RFC 4790 §9 says. `i;unicode-casemap` (the default) compares as RFC 5051 §2, and
  leaves accents and ligatures aside as well: the directory writes « HELENE » where a person types « Hélène ».
- `texts_of` gives what to search so as to find everything that a filter can match, as far as words can: no text at all when
  nothing can match, an empty text when words do not narrow it, which the caller must not serve from a large directory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mssante.protocol.imap.collation import fold
from mssante.protocol.sieve.match import fold as ascii_fold
from mssante.protocol.webdav.requests import Condition, ParameterFilter, Query, TextMatch

MAX_SEARCHES = 8
_LIGATURES = str.maketrans({"œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"})


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a property, as text. parameters: upper-case names."""

    text: str
    parameters: Mapping[str, tuple[str, ...]]


Properties = Mapping[str, Sequence[Value]]  # by upper-case name


@lru_cache(maxsize=50_000)
def folded(text: str, collation: str) -> str:
    """Give a text in the form that a collation compares."""
    if collation == "i;octet":
        return text
    if collation == "i;ascii-casemap":
        return ascii_fold(text)
    return fold(text.translate(_LIGATURES))


def _compares(match: TextMatch, texts: Collection[str]) -> bool:
    asked = folded(match.text, match.collation)
    found = False
    for text in texts:
        held = folded(text, match.collation)
        match match.kind:
            case "equals":
                found = held == asked
            case "starts-with":
                found = held.startswith(asked)
            case "ends-with":
                found = held.endswith(asked)
            case _:
                found = asked in held
        if found:
            break
    return found is not match.negate


def _parameter(filter_: ParameterFilter, values: Sequence[Value]) -> bool:
    held = [text for value in values for text in value.parameters.get(filter_.name, ())]
    if filter_.absent:
        return not held
    return bool(held) and (filter_.text is None or _compares(filter_.text, held))


def _condition(condition: Condition, card: Properties) -> bool:
    values = card.get(condition.name, ())
    if condition.absent or not values:
        return condition.absent and not values
    told = [_compares(one, [value.text for value in values]) for one in condition.texts]
    told += [_parameter(one, values) for one in condition.parameters]
    if not told:
        return True
    return all(told) if condition.every else any(told)


def matches(query: Query, card: Properties) -> bool:
    """Tell whether a card matches; a filter without conditions matches every card (RFC 6352 §10.5)."""
    if not query.conditions:
        return True
    told = (_condition(one, card) for one in query.conditions)
    return all(told) if query.every else any(told)


def _texts(condition: Condition, searched: Collection[str], known: Collection[str]) -> list[str]:
    """Give the texts that find what a condition can match. searched: properties that words find; known: all that cards have."""
    if condition.absent:
        return [""]
    if condition.name not in known:
        return []
    negated = any(one.negate for one in condition.texts)
    positive = [one.text for one in condition.texts if not one.negate]
    if condition.name not in searched or not positive:
        return [""]
    if condition.every:
        return [" ".join(positive)]
    return [""] if negated or condition.parameters else positive


def texts_of(query: Query, searched: Collection[str], known: Collection[str]) -> list[str]:
    """Give texts to search, those of most words first; more than `MAX_SEARCHES` when that many do not find everything."""
    parts = [_texts(one, searched, known) for one in query.conditions]
    if not parts:
        return [""]
    found = [""] if query.every else [text for part in parts for text in part]
    for part in parts if query.every else ():
        found = [f"{one} {other}".strip() for one in found for other in part][:MAX_SEARCHES + 1]
    return sorted(dict.fromkeys(found), key=lambda text: -len(text.split()))[:MAX_SEARCHES + 1]

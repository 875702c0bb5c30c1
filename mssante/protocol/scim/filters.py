"""Filters of SCIM (RFC 7644 §3.4.2.2): read into a tree, then asked about documents. Nothing of a filter ever reaches a database.

- All operators: eq ne co sw ew gt ge lt le pr, and or not, parentheses, `attribute.sub`, `attribute[filter]`; names may stand
  behind their schema URN. Comparisons of text ignore case: all attributes served are `caseExact: false`, but `id`.
- Bounded: `MAX_FILTER` characters, `MAX_TERMS` comparisons, `MAX_DEPTH` levels; what is beyond is `invalidFilter`.
Called by `services/scim.py` and `patch.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mssante.protocol.scim.values import Document, ScimFault, pick

MAX_FILTER = 2048
MAX_TERMS = 32
MAX_DEPTH = 8
_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<mark>[()\[\]])|(?P<word>[^\s()\[\]"]+))')
_OPERATORS = frozenset(("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr"))
_NAME = re.compile(r"(?:urn:[A-Za-z0-9:._\-]{1,120}:)?\$?[A-Za-z][\w\-$]{0,60}(?:\.[A-Za-z][\w\-$]{0,60})?\Z")


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison. path: attribute and sub-attribute, lower-case."""

    path: tuple[str, ...]
    operator: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Joined:
    """`and`, `or`, `not` (one part)."""

    word: str
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """`attribute[filter]`: one value of a multi-valued attribute fits."""

    path: tuple[str, ...]
    inner: Tree


Tree = Term | Joined | Within


def _wrong(why: str) -> ScimFault:
    return ScimFault(400, f"filter: {why}", "invalidFilter")


def attribute_path(name: str) -> tuple[str, ...]:
    """Give the parts of an attribute path, lower-case, its URN as first part when it has one. Raises ScimFault."""
    if not _NAME.match(name):
        raise _wrong("not an attribute")
    urn, colon, rest = name.rpartition(":")
    return (*((urn.lower(),) if colon else ()), *rest.lower().split("."))


class _Reader:
    def __init__(self, text: str) -> None:
        if len(text) > MAX_FILTER:
            raise _wrong(f"at most {MAX_FILTER} characters")
        self._tokens = self._split(text)
        self._place = 0
        self._terms = 0

    @staticmethod
    def _split(text: str) -> list[str]:
        tokens: list[str] = []
        place, text = 0, text.strip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise _wrong("unreadable")
            tokens.append(found[0].strip())
            place = found.end()
        return tokens

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise _wrong("it ends too early")
        self._place += 1
        return token

    def whole(self) -> Tree:
        tree = self._either(0)
        if self._peek():
            raise _wrong("something follows its end")
        return tree

    def _either(self, depth: int) -> Tree:
        parts = [self._both(depth)]
        while self._peek().lower() == "or":
            self._take()
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def _both(self, depth: int) -> Tree:
        parts = [self._one(depth)]
        while self._peek().lower() == "and":
            self._take()
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def _one(self, depth: int) -> Tree:
        if depth >= MAX_DEPTH:
            raise _wrong(f"at most {MAX_DEPTH} levels")
        mark = self._take()
        if mark == "(" or (mark.lower() == "not" and self._peek() == "("):
            if mark != "(":
                self._take()
            inner = self._either(depth + 1)
            self._close(")")
            return inner if mark == "(" else Joined("not", (inner,))
        path = attribute_path(mark)
        if self._peek() == "[":
            self._take()
            inner = self._either(depth + 1)
            self._close("]")
            return Within(path, inner)
        return self._term(path)

    def _close(self, mark: str) -> None:
        if self._take() != mark:
            raise _wrong(f"{mark} is missing")

    def _term(self, path: tuple[str, ...]) -> Term:
        self._terms += 1
        operator = self._take().lower()
        if self._terms > MAX_TERMS or operator not in _OPERATORS:
            raise _wrong(f"at most {MAX_TERMS} comparisons" if operator in _OPERATORS else "unknown operator")
        if operator == "pr":
            return Term(path, operator)
        try:
            value = json.loads(self._take())
        except (ValueError, RecursionError) as exc:
            raise _wrong("a value is a JSON string, number, true, false or null") from exc
        return Term(path, operator, value)


def read_filter(text: str) -> Tree:
    """Read a filter. Raises ScimFault `invalidFilter`."""
    return _Reader(text).whole()


def wanted_login(tree: Tree | None) -> str:
    """Give the user name that a filter asks for exactly, empty for any other filter: it need not look at everybody."""
    found = tree if isinstance(tree, Term) else None
    return found.value if (found is not None and found.path[-1:] == ("username",) and found.operator == "eq"
                           and isinstance(found.value, str)) else ""


def fits(tree: Tree, document: Document) -> bool:
    """Tell if a document answers a filter."""
    if isinstance(tree, Term):
        return _compare(tree, values_at(document, tree.path))
    if isinstance(tree, Within):
        return any(isinstance(one, dict) and fits(tree.inner, one) for one in values_at(document, tree.path))
    if tree.word == "not":
        return not fits(tree.parts[0], document)
    return (all if tree.word == "and" else any)(fits(part, document) for part in tree.parts)


def values_at(document: Document, path: tuple[str, ...]) -> list[Any]:
    """Give the values of an attribute path; a multi-valued attribute gives each of its values."""
    found: list[Any] = [document]
    for name in path:
        if name.startswith("urn:ietf:"):
            continue  # core attributes stand at the top
        following: list[Any] = []
        for one in found:
            value = pick(one, name) if isinstance(one, dict) else None
            following += value if isinstance(value, list) else [] if value is None else [value]
        found = following
    if found and len(path) == 1 and isinstance(found[0], dict):
        inner = [pick(one, "value") for one in found if isinstance(one, dict)]
        return [*found, *[one for one in inner if one is not None]]  # RFC 7643 §2.4: `value` is the default sub-attribute
    return found


_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__, "ne": str.__ne__, "co": str.__contains__, "sw": str.startswith, "ew": str.endswith,
    "gt": str.__gt__, "ge": str.__ge__, "lt": str.__lt__, "le": str.__le__}


def _compare(term: Term, values: list[Any]) -> bool:
    if term.operator == "pr":
        return any(one not in ("", [], {}) for one in values)
    if term.operator == "ne":
        return not _compare(Term(term.path, "eq", term.value), values)
    if term.value is None:
        return term.operator == "eq" and not values
    return any(_test(term, one) for one in values)


def _test(term: Term, value: Any) -> bool:
    if isinstance(term.value, str) and isinstance(value, str):
        return _TEXT_TESTS[term.operator](value.casefold(), term.value.casefold())
    return term.operator == "eq" and type(value) is type(term.value) and bool(value == term.value)

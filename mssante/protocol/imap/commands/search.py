"""SEARCH and UID SEARCH (RFC 9051 §6.4.4; RFC 4731 RETURN; RFC 5182 SAVE and `$`; RFC 7162 §3.1.5 MODSEQ).

Keys become a tree of values, at most DEPTH deep and MAX_KEYS long. Keys of RFC 3501 that IMAP4rev2 left out (RECENT,
NEW, OLD) are read too: no message is \\Recent here. Charsets are US-ASCII and UTF-8; another one is a NO [BADCHARSET].
"""

from __future__ import annotations

from collections.abc import Callable

from mssante.model.message import Flags
from mssante.protocol.imap.commands.store import MAX_MODSEQ
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.limits import DEPTH
from mssante.protocol.imap.tokens import ATOM, Tokens
from mssante.protocol.imap.values import (
    AllOf,
    AnyOf,
    DateKey,
    DateRelation,
    Everything,
    FlagKey,
    HeaderKey,
    InSet,
    KeywordKey,
    ModSeqKey,
    Nothing,
    NotKey,
    Search,
    SearchKey,
    SearchReturn,
    SizeKey,
    TextKey,
    TextPlace,
)

MAX_KEYS = 2_000
MAX_SIZE = 9_223_372_036_854_775_807
MAX_TEXT = 1_000  # characters of one text searched for

_SIMPLE: dict[str, SearchKey] = {
    "ALL": Everything(), "OLD": Everything(), "RECENT": Nothing(), "NEW": Nothing(),
    **{flag.name or "": FlagKey(flag.value, True) for flag in Flags},
    **{f"UN{flag.name}": FlagKey(flag.value, False) for flag in Flags},
}
_SET_START = frozenset(b"0123456789*$")


class _Reader:
    """Reads keys from one command; counts them."""

    __slots__ = ("keys", "modseq", "tokens")

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.keys = 0
        self.modseq = False

    def keys_until(self, closing: bool, depth: int) -> SearchKey:
        """Read keys up to `)` or the end: one key as it is, several as AllOf."""
        tokens = self.tokens
        found = [self.key(depth)]
        while not (tokens.skip(b")") if closing else tokens.ended):
            tokens.space()
            found.append(self.key(depth))
        return found[0] if len(found) == 1 else AllOf(tuple(found))

    def key(self, depth: int) -> SearchKey:
        """Read one key."""
        tokens = self.tokens
        if depth > DEPTH:
            tokens.fault(f"keys nested deeper than {DEPTH}")
        self.keys += 1
        if self.keys > MAX_KEYS:
            tokens.fault(f"more than {MAX_KEYS} keys")
        first = tokens.peek()
        if first in _SET_START:
            return InSet(tokens.sequence_set(), uid=False)
        if tokens.skip(b"("):
            return self.keys_until(True, depth + 1)
        start = tokens.at
        word = tokens.word()
        simple = _SIMPLE.get(word)
        if simple is not None:
            return simple
        if word == "NOT":
            tokens.space()
            return NotKey(self.key(depth + 1))
        if word == "OR":
            tokens.space()
            left = self.key(depth + 1)
            tokens.space()
            return AnyOf(left, self.key(depth + 1))
        read = _WITH_ARGUMENT.get(word)
        if read is None:
            tokens.at = start
            tokens.fault("unknown search key")
        self.modseq = self.modseq or word == "MODSEQ"
        tokens.space()
        return read(tokens)


def parse_search(tokens: Tokens, *, uid: bool = False) -> Search:
    """Read result options, charset and keys. Raises ClientFault, CommandRefused BADCHARSET.

    Once IMAP4rev2 is enabled the answer is always ESEARCH (RFC 9051 §6.4.4), so `returns` is then never None.
    """
    tokens.space()
    returns: SearchReturn | None = SearchReturn.ALL if tokens.rev2 else None
    if _next_word_is(tokens, b"RETURN "):
        returns = _returns(tokens)
        tokens.space()
    if _next_word_is(tokens, b"CHARSET "):
        _charset(tokens)
        tokens.space()
    reader = _Reader(tokens)
    key = reader.keys_until(False, 1)
    return Search(key, uid, returns, reader.modseq)


def _next_word_is(tokens: Tokens, word: bytes) -> bool:
    """Go past a word and its space when they are next, in any case."""
    if tokens.text[tokens.at:tokens.at + len(word)].upper() != word:
        return False
    tokens.at += len(word)
    return True


def _returns(tokens: Tokens) -> SearchReturn:
    """Read `(MIN COUNT …)`; nothing in it means ALL (RFC 4731 §3.1)."""
    tokens.expect(b"(", "result options")
    found = SearchReturn.NONE
    while not tokens.skip(b")"):
        if found:
            tokens.space()
        word = tokens.word()
        if word not in SearchReturn.__members__ or word == "NONE":
            tokens.fault("unknown result option")
        found |= SearchReturn[word]
    return found or SearchReturn.ALL


def _charset(tokens: Tokens) -> None:
    """Read a charset that we have."""
    if tokens.astring().upper() not in (b"US-ASCII", b"UTF-8"):
        raise CommandRefused("charset not supported", code="BADCHARSET (US-ASCII UTF-8)")  # RFC 9051 §7.1


def _text(tokens: Tokens) -> str:
    """Read a text to look for."""
    text = tokens.text_string()
    if len(text) > MAX_TEXT:
        tokens.fault(f"search text longer than {MAX_TEXT} characters")
    return text


def _in_place(place: TextPlace) -> Callable[[Tokens], SearchKey]:
    return lambda tokens: TextKey(place, _text(tokens))


def _on_date(relation: DateRelation, *, sent: bool) -> Callable[[Tokens], SearchKey]:
    return lambda tokens: DateKey(relation, tokens.date(), sent)


def _keyword(*, present: bool) -> Callable[[Tokens], SearchKey]:
    return lambda tokens: KeywordKey(tokens.take(ATOM, "a keyword").decode("ascii"), present)


def _size(*, larger: bool) -> Callable[[Tokens], SearchKey]:
    return lambda tokens: SizeKey(tokens.number(MAX_SIZE), larger)


def _header(tokens: Tokens) -> SearchKey:
    """Read field name and text."""
    field = tokens.text_string()
    if not field or len(field) > 200 or not field.isascii() or not field.isprintable() or ":" in field or " " in field:
        tokens.fault("not a header field name")
    tokens.space()
    return HeaderKey(field, _text(tokens))


def _modseq(tokens: Tokens) -> SearchKey:
    """Read `[entry-name SP entry-type SP] n` (RFC 7162 §3.1.5)."""
    if tokens.peek() == 0x22:
        tokens.string()
        tokens.space()
        if tokens.word() not in ("PRIV", "SHARED", "ALL"):
            tokens.fault("expected priv, shared or all")
        tokens.space()
    return ModSeqKey(tokens.number(MAX_MODSEQ))


_WITH_ARGUMENT: dict[str, Callable[[Tokens], SearchKey]] = {
    "UID": lambda tokens: InSet(tokens.sequence_set(), uid=True),
    "KEYWORD": _keyword(present=True),
    "UNKEYWORD": _keyword(present=False),
    "HEADER": _header,
    "LARGER": _size(larger=True),
    "SMALLER": _size(larger=False),
    "MODSEQ": _modseq,
    **{place.value: _in_place(place) for place in TextPlace},
    **{relation.value: _on_date(relation, sent=False) for relation in DateRelation},
    **{f"SENT{relation.value}": _on_date(relation, sent=True) for relation in DateRelation},
}

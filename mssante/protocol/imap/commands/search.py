"""SEARCH and UID SEARCH (RFC 9051 §6.4.4; RFC 4731 RETURN; RFC 5182 SAVE and `$`; RFC 7162 §3.1.5 MODSEQ; RFC 5032 YOUNGER
and OLDER; RFC 5267 UPDATE, CONTEXT, PARTIAL; RFC 6203 FUZZY; RFC 8474 EMAILID, THREADID; RFC 8514 SAVED…; RFC 9394 PARTIAL).

`read_options` and `read_program` are shared with SORT, THREAD and ESEARCH. Keys become a tree of values, at most DEPTH deep and
MAX_KEYS long. Keys of RFC 3501 that IMAP4rev2 left out (RECENT, NEW, OLD) are read too. Charsets are
US-ASCII and UTF-8; another one is a NO [BADCHARSET].
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mssante.model.message import RECENT, Flags
from mssante.protocol.imap.commands.fetch import parse_attributes
from mssante.protocol.imap.commands.store import MAX_MODSEQ
from mssante.protocol.imap.commands.sync import read_uids_beside
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.limits import DEPTH
from mssante.protocol.imap.notifyvalues import Asked
from mssante.protocol.imap.partial import Partial, read_partial
from mssante.protocol.imap.searchkeys import (
    AllOf,
    AnyOf,
    DateKey,
    DateRelation,
    Everything,
    FlagKey,
    FuzzyKey,
    HeaderKey,
    InSet,
    KeywordKey,
    ModSeqKey,
    NotKey,
    ObjectKey,
    SavedKey,
    SearchKey,
    SizeKey,
    TextKey,
    TextPlace,
    WithinKey,
)
from mssante.protocol.imap.searchvalues import Search, SearchReturn
from mssante.protocol.imap.tokens import ATOM, Tokens

MAX_KEYS = 2_000
MAX_SIZE = 9_223_372_036_854_775_807
MAX_TEXT = 1_000  # characters of one text searched for
MAX_SECONDS = 4_294_967_295
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_\-]{1,255}")  # RFC 8474 §7

_SIMPLE: dict[str, SearchKey] = {
    "ALL": Everything(), "OLD": FlagKey(RECENT, False), "RECENT": FlagKey(RECENT, True),
    "NEW": AllOf((FlagKey(RECENT, True), FlagKey(Flags.SEEN.value, False))),  # RFC 3501 §6.4.4
    "SAVEDATESUPPORTED": Everything(),  # RFC 8514 §4.3: every folder keeps save dates
    **{flag.name or "": FlagKey(flag.value, True) for flag in Flags},
    **{f"UN{flag.name}": FlagKey(flag.value, False) for flag in Flags},
}
_SET_START = frozenset(b"0123456789*$")


class _Reader:
    """Reads keys from one command; counts them."""

    __slots__ = ("fuzzy", "keys", "modseq", "tokens")

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.keys = 0
        self.modseq = False
        self.fuzzy = False

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
        if word == "FUZZY":
            self.fuzzy = True
            tokens.space()
            return FuzzyKey(self.key(depth + 1))
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
    partial = None
    if next_word_is(tokens, b"RETURN "):
        returns, partial = read_options(tokens)
        tokens.space()
    if next_word_is(tokens, b"CHARSET "):
        read_charset(tokens, optional=True)
        tokens.space()
    return read_program(tokens, uid=uid, returns=returns, partial=partial)


def read_program(tokens: Tokens, *, uid: bool, returns: SearchReturn | None, partial: Partial | None = None,
                 fuzzy: bool = False) -> Search:
    """Read keys to the end of the command. fuzzy: something else of the command asks for scores. Raises ClientFault."""
    reader = _Reader(tokens)
    start = tokens.at
    key = reader.keys_until(False, 1)
    if (fuzzy or (returns or SearchReturn.NONE) & SearchReturn.RELEVANCY) and not reader.fuzzy:
        tokens.at = start
        tokens.fault("RELEVANCY needs a FUZZY key")  # RFC 6203 §4, §6
    return Search(key, uid, returns, reader.modseq, partial, tokens.asked)


def next_word_is(tokens: Tokens, word: bytes) -> bool:
    """Go past a word and its space when they are next, in any case."""
    if tokens.text[tokens.at:tokens.at + len(word)].upper() != word:
        return False
    tokens.at += len(word)
    return True


def read_options(tokens: Tokens) -> tuple[SearchReturn, Partial | None]:
    """Read `(MIN COUNT PARTIAL 1:50 …)`; nothing in it means ALL (RFC 4731 §3.1). Raises ClientFault."""
    tokens.expect(b"(", "result options")
    found, partial = SearchReturn.NONE, None
    while not tokens.skip(b")"):
        if found:
            tokens.space()
        word = tokens.word()
        if word not in SearchReturn.__members__ or word == "NONE":
            tokens.fault("unknown result option")
        option = SearchReturn[word]
        if option & SearchReturn.UPDATE and (tokens.text.startswith(b" (", tokens.at) or tokens.peek() == 0x28):
            tokens.skip(b" ")
            tokens.asked = Asked(*parse_attributes(tokens))  # RFC 5465 §7
        if option & SearchReturn.PARTIAL:
            tokens.space()
            partial = read_partial(tokens)
        if option & (SearchReturn.PARTIAL | SearchReturn.ALL) and found & (SearchReturn.PARTIAL | SearchReturn.ALL):
            tokens.fault("only one ALL or PARTIAL is allowed")  # RFC 9394 §3.1
        found |= option
    return found or SearchReturn.ALL, partial


def read_charset(tokens: Tokens, *, optional: bool = False) -> None:
    """Read a charset that we have. Raises CommandRefused BADCHARSET.

    optional: the command has one without it too. Once UTF8=ACCEPT is enabled, an optional one is BAD, and one that must be
    there can only be UTF-8 (RFC 9755 §3, erratum 4029 of RFC 6855).
    """
    charset = tokens.astring().upper()
    if tokens.accept and (optional or charset != b"UTF-8"):
        tokens.fault("no charset but UTF-8 once UTF8=ACCEPT is enabled")
    if charset not in (b"US-ASCII", b"UTF-8"):
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


def _within(*, older: bool) -> Callable[[Tokens], SearchKey]:
    def read(tokens: Tokens) -> SearchKey:
        seconds = tokens.number(MAX_SECONDS)
        if not seconds:
            tokens.fault("a number of seconds above zero was expected")  # RFC 5032 §5: nz-number
        return WithinKey(seconds, older)
    return read


def _saved(relation: DateRelation) -> Callable[[Tokens], SearchKey]:
    return lambda tokens: SavedKey(relation, tokens.date())


def _object(*, thread: bool) -> Callable[[Tokens], SearchKey]:
    return lambda tokens: ObjectKey(tokens.take(_OBJECT_ID, "an object id").decode("ascii"), thread)


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
    "UIDAFTER": lambda tokens: InSet(read_uids_beside(tokens, after=True), uid=True),
    "UIDBEFORE": lambda tokens: InSet(read_uids_beside(tokens, after=False), uid=True),
    "KEYWORD": _keyword(present=True),
    "UNKEYWORD": _keyword(present=False),
    "HEADER": _header,
    "LARGER": _size(larger=True),
    "SMALLER": _size(larger=False),
    "MODSEQ": _modseq,
    "YOUNGER": _within(older=False),
    "OLDER": _within(older=True),
    "EMAILID": _object(thread=False),
    "THREADID": _object(thread=True),
    **{f"SAVED{relation.value}": _saved(relation) for relation in DateRelation},
    **{place.value: _in_place(place) for place in TextPlace},
    **{relation.value: _on_date(relation, sent=False) for relation in DateRelation},
    **{f"SENT{relation.value}": _on_date(relation, sent=True) for relation in DateRelation},
}

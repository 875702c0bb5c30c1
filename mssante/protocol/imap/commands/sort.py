"""SORT, THREAD (RFC 5256 §3, §5; RFC 5267 §3 RETURN; RFC 5957 DISPLAYFROM, DISPLAYTO; RFC 6203 §6 RELEVANCY), CANCELUPDATE.

What is searched is read by `commands/search.py`; the charset comes first here, and is not optional (RFC 5256 §5).
"""

from __future__ import annotations

from mssante.protocol.imap.commands.search import next_word_is, read_charset, read_options, read_program
from mssante.protocol.imap.searchvalues import CancelUpdate, SearchReturn, Sort, SortBy, Thread, ThreadBy
from mssante.protocol.imap.tokens import Tokens

MAX_CRITERIA = 20
MAX_TAGS = 100


def parse_sort(tokens: Tokens, *, uid: bool = False) -> Sort:
    """Read `[RETURN (…)] (criteria) charset keys`. Raises ClientFault, CommandRefused BADCHARSET."""
    tokens.space()
    returns: SearchReturn | None = None
    partial = None
    if next_word_is(tokens, b"RETURN "):
        returns, partial = read_options(tokens)
        tokens.space()
    order = _criteria(tokens)
    tokens.space()
    read_charset(tokens)
    tokens.space()
    scored = any(by is SortBy.RELEVANCY for by, _ in order)
    return Sort(order, read_program(tokens, uid=uid, returns=returns, partial=partial, fuzzy=scored))


def _criteria(tokens: Tokens) -> tuple[tuple[SortBy, bool], ...]:
    """Read `(REVERSE DATE SUBJECT …)`."""
    tokens.expect(b"(", "sort criteria")
    order: list[tuple[SortBy, bool]] = []
    while not order or not tokens.skip(b")"):
        if order:
            tokens.space()
        reverse = next_word_is(tokens, b"REVERSE ")
        word = tokens.word()
        if word not in SortBy.__members__:
            tokens.fault("unknown sort criterion")
        order.append((SortBy[word], reverse))
        if len(order) > MAX_CRITERIA:
            tokens.fault(f"more than {MAX_CRITERIA} sort criteria")
    return tuple(order)


def parse_thread(tokens: Tokens, *, uid: bool = False) -> Thread:
    """Read `algorithm charset keys`. Raises ClientFault, CommandRefused BADCHARSET."""
    tokens.space()
    word = tokens.word()
    if word not in ThreadBy.__members__:
        tokens.fault("unknown threading algorithm")
    tokens.space()
    read_charset(tokens)
    tokens.space()
    return Thread(ThreadBy[word], read_program(tokens, uid=uid, returns=None))


def parse_cancel_update(tokens: Tokens) -> CancelUpdate:
    """Read one or more quoted tags (RFC 5267 §5). Raises ClientFault."""
    tags: list[bytes] = []
    while not tags or not tokens.ended:
        tokens.space()
        tags.append(tokens.string())
        if len(tags) > MAX_TAGS:
            tokens.fault(f"more than {MAX_TAGS} tags")
    return CancelUpdate(tuple(tags))

"""ESEARCH, the search of several folders (RFC 7377 §2.2; sources of RFC 5465 §6 and §8).

The answer is always ESEARCH with UIDs, so the command reads as a UID SEARCH with result options.
"""

from __future__ import annotations

from mssante.protocol.imap.commands.search import next_word_is, read_charset, read_options, read_program
from mssante.protocol.imap.searchvalues import MultiSearch, SearchReturn, Source
from mssante.protocol.imap.tokens import Tokens

MAX_SOURCES = 50
MAX_NAMES = 500  # folder names of one command
_NAMED = frozenset({Source.SUBTREE, Source.SUBTREE_ONE, Source.MAILBOXES})
_WORDS = {source.value: source for source in Source}


def parse_multi_search(tokens: Tokens) -> MultiSearch:
    """Read `[IN (sources)] [RETURN (…)] [CHARSET x] keys`. Raises ClientFault, CommandRefused BADCHARSET."""
    tokens.space()
    sources: tuple[tuple[Source, tuple[str, ...]], ...] = ((Source.SELECTED, ()),)
    if next_word_is(tokens, b"IN "):
        sources = _sources(tokens)
        tokens.space()
    returns, partial = SearchReturn.ALL, None
    if next_word_is(tokens, b"RETURN "):
        returns, partial = read_options(tokens)
        tokens.space()
    if next_word_is(tokens, b"CHARSET "):
        read_charset(tokens, optional=True)
        tokens.space()
    return MultiSearch(sources, read_program(tokens, uid=True, returns=returns, partial=partial))


def _sources(tokens: Tokens) -> tuple[tuple[Source, tuple[str, ...]], ...]:
    """Read `(mailboxes (A B) subtree C selected)`."""
    tokens.expect(b"(", "sources")
    found: list[tuple[Source, tuple[str, ...]]] = []
    names = 0
    while not found or not tokens.skip(b")"):
        if found:
            tokens.space()
        source = _WORDS.get(tokens.word())
        if source is None:
            tokens.fault("unknown source")
        listed = _names(tokens) if source in _NAMED else ()
        names += len(listed)
        if len(found) >= MAX_SOURCES or names > MAX_NAMES:
            tokens.fault(f"more than {MAX_SOURCES} sources or {MAX_NAMES} names")
        found.append((source, listed))
    return tuple(found)


def _names(tokens: Tokens) -> tuple[str, ...]:
    """Read one folder name, or several in parentheses (RFC 5465 §8 one-or-more-mailbox)."""
    tokens.space()
    if not tokens.skip(b"("):
        return (tokens.folder(),)
    names = [tokens.folder()]
    while not tokens.skip(b")"):
        tokens.space()
        names.append(tokens.folder())
        if len(names) > MAX_NAMES:
            tokens.fault(f"more than {MAX_NAMES} names")
    return tuple(names)

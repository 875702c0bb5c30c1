"""APPEND, REPLACE and UID REPLACE up to and between their messages (RFC 9051 §6.3.12, 3502, 4469, 6855, 8508).

The receiver stops before the marker of each literal that holds octets of a message; `AppendReader` goes on from where it
stopped, so each octet of the text is read once however many messages and parts there are, and folder, quota and size can
be refused before the client sends anything.

What may come next is the reader's `_next`::

    START      [number] folder                          -> MESSAGE
    MESSAGE    end of the command, or SP [flags SP] [date-time SP] and
                   a literal                            -> MESSAGE   (RFC 3502: another message, or the end)
                   UTF8 (                               -> CLOSE, then MESSAGE
                   CATENATE (                           -> PART
    PART       TEXT SP literal | URL SP astring         -> AFTER_PART
               UTF8 (                                   -> CLOSE, then AFTER_PART
    AFTER_PART SP -> PART, `)` -> MESSAGE
    CLOSE      `)` after a literal8
"""

from __future__ import annotations

import re
from enum import Enum, auto

from mssante.protocol.imap.appendvalues import Append, AppendAction, AppendLiteral, AppendMessage, AppendUrl
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.tokens import Tokens

MAX_URL = 2_000  # octets

_DATA_WORD = re.compile(rb"[A-Za-z0-9]+")
_ONE_NUMBER = re.compile(rb"(?:\*|[1-9][0-9]{0,9})(?![0-9:,*])")


class _Next(Enum):
    START = auto()
    MESSAGE = auto()
    PART = auto()
    AFTER_PART = auto()
    CLOSE = auto()


class AppendReader:
    """One command under way. name: as in the table of commands; utf8: UTF8=ACCEPT is enabled."""

    __slots__ = ("_actions", "_after_close", "_folder", "_messages", "_name", "_next", "_replaces", "_utf8")

    def __init__(self, name: str, *, utf8: bool) -> None:
        self._name = name
        self._utf8 = utf8
        self._next = _Next.START
        self._after_close = _Next.MESSAGE
        self._folder = ""
        self._replaces: NumSet | None = None
        self._messages = 0
        self._actions: list[AppendAction] = []

    def literal(self, tokens: Tokens, *, size: int, binary: bool) -> Append:
        """Read the text up to an announced literal: give the step that ends with it. Raises ClientFault."""
        literal = AppendLiteral(size, binary)
        while not self._advance(tokens, literal):
            pass
        return self._step()

    def end(self, tokens: Tokens) -> Append:
        """Read the text up to the end of the command: give the last step. Raises ClientFault."""
        while not (tokens.ended and self._next is _Next.MESSAGE):
            self._advance(tokens, None)
        if not self._messages:
            tokens.fault("expected the message as a literal")
        return self._step()

    def _step(self) -> Append:
        actions, self._actions = tuple(self._actions), []
        return Append(self._folder, actions, self._replaces, self._name.startswith("UID "))

    def _advance(self, tokens: Tokens, literal: AppendLiteral | None) -> bool:
        """Read on; `literal` stands behind the text. True when it was reached; goes forward or raises."""
        match self._next:
            case _Next.START:
                self._start(tokens)
            case _Next.MESSAGE:
                return self._message(tokens, literal)
            case _Next.PART:
                return self._part(tokens, literal)
            case _Next.AFTER_PART:
                self._next = _Next.MESSAGE if tokens.skip(b")") else _Next.PART
                if self._next is _Next.PART:
                    tokens.space()
            case _Next.CLOSE:
                tokens.expect(b")", "a closing parenthesis")
                self._next = self._after_close
        return False

    def _start(self, tokens: Tokens) -> None:
        """Read the number of REPLACE and the folder."""
        tokens.space()
        if self._name != "APPEND":
            start = tokens.at
            try:
                self._replaces = NumSet.parse(tokens.take(_ONE_NUMBER, "one message number"))  # RFC 8508 §5
            except ValueError:
                tokens.at = start
                tokens.fault("expected one message number")
            tokens.space()
        self._folder = tokens.folder()
        self._next = _Next.MESSAGE

    def _message(self, tokens: Tokens, literal: AppendLiteral | None) -> bool:
        """Read what stands before the data of one message; True when the data is the literal."""
        if self._messages and self._replaces is not None:
            tokens.fault("unexpected text after the message")  # RFC 8508 §4.7: one message only
        tokens.space()
        mask = 0
        keywords: tuple[str, ...] = ()
        date = None
        if tokens.peek() == 0x28:
            mask, keywords = tokens.flag_list()
            tokens.space()
        if tokens.peek() == 0x22:
            date = tokens.date_time()
            tokens.space()
        self._messages += 1
        self._actions.append(AppendMessage(mask, keywords, date))
        return self._take(tokens, literal) if tokens.ended else self._extended(tokens, literal)

    def _extended(self, tokens: Tokens, literal: AppendLiteral | None) -> bool:
        """Read `CATENATE (` or `UTF8 (`."""
        start = tokens.at
        word = tokens.take(_DATA_WORD, "the message as a literal").upper()
        if word == b"UTF8":
            return self._utf8_literal(tokens, literal, _Next.MESSAGE)
        if word != b"CATENATE":
            tokens.at = start
            tokens.fault("expected the message as a literal")
        tokens.space()
        tokens.expect(b"(", "a list of parts")
        self._next = _Next.PART
        return False

    def _part(self, tokens: Tokens, literal: AppendLiteral | None) -> bool:
        """Read one part of CATENATE; True when it is the literal."""
        start = tokens.at
        word = tokens.take(_DATA_WORD, "TEXT or URL").upper()
        if word == b"UTF8":
            return self._utf8_literal(tokens, literal, _Next.AFTER_PART)
        if word not in (b"TEXT", b"URL"):
            tokens.at = start
            tokens.fault("expected TEXT or URL")
        tokens.space()
        self._next = _Next.AFTER_PART
        if word == b"TEXT":
            if literal is not None and literal.binary:
                tokens.fault("TEXT takes a literal, not a literal8")  # RFC 4469 §5 text-literal
            return self._take(tokens, literal, alone=False)
        url = tokens.astring()
        if len(url) > MAX_URL:
            tokens.fault(f"URL longer than {MAX_URL} octets")
        self._actions.append(AppendUrl(url))
        return False

    def _utf8_literal(self, tokens: Tokens, literal: AppendLiteral | None, after: _Next) -> bool:
        """Read `SP (` before a literal8 (RFC 6855 §4 utf8-literal; RFC 9755 leaves it out, clients still send it)."""
        if not self._utf8:
            tokens.fault("UTF8 needs ENABLE UTF8=ACCEPT")
        tokens.space()
        tokens.expect(b"(", "a literal8 in parentheses")
        if literal is None or not literal.binary:
            tokens.fault("expected a literal8")
        self._next, self._after_close = _Next.CLOSE, after
        return self._take(tokens, literal, alone=after is _Next.MESSAGE, utf8=True)

    def _take(self, tokens: Tokens, literal: AppendLiteral | None, *, alone: bool = True, utf8: bool = False) -> bool:
        """The literal must be here."""
        if literal is None or not tokens.ended:
            tokens.fault("expected the message as a literal")
        self._actions.append(AppendLiteral(literal.size, literal.binary, utf8, alone))
        return True


def parse_append(tokens: Tokens) -> Append:
    """Read an APPEND without any literal of message data: its parts are URLs, or it is malformed. Raises ClientFault."""
    return AppendReader("APPEND", utf8=tokens.accept).end(tokens)


def parse_replace(tokens: Tokens, *, uid: bool = False) -> Append:
    """Same for REPLACE and UID REPLACE (RFC 8508 §3). Raises ClientFault."""
    return AppendReader("UID REPLACE" if uid else "REPLACE", utf8=tokens.accept).end(tokens)

"""Framing of what an IMAP client sends (RFC 9051 §2.2, §4.3): octets in, whole commands and literals out.

A machine with one method per mode; `next_event` runs modes until one has an event or needs octets.

    COMMAND   a line of a command            -> RawCommand, or the literal announced at its end
    WAIT      a literal announced, nobody answered yet (`accept_literal`, `refuse_literal`)
    HELD      octets of a small literal      -> COMMAND
    STREAM    octets of an APPEND message    -> LiteralChunk…, then COMMAND: the rest of the command, message or not
    LINE      one line asked by `expect_line` (IDLE, AUTHENTICATE) -> Line
    SKIP      literal and rest of a refused command, thrown away -> COMMAND
    ENDED     after SessionEnd, for good

- The same octets give the same events however they are cut (chunks of STREAM excepted, their sum is the same).
- Held: the buffer (the caller stops reading while `full`), the lines and small literals of one command. All bounded.
- After any fault it finds the start of the next command again; octets of a refused `{n+}` literal are never commands.
- After a streamed literal the text starts anew: `tokens` hold what came since. Its octets count until the command ends.
- It knows no command but the name of those whose literal is streamed; the state table and grammar are above.

Called by `protocol/imap/session.py` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from mssante.protocol.imap.faults import ClientFault, SessionEnd
from mssante.protocol.imap.limits import TAG, Limits
from mssante.protocol.imap.streaming import STREAMED, is_message
from mssante.protocol.imap.tokens import Tokens


class NeedData(Enum):
    """The event that says: all octets are used, give more."""

    NEED_DATA = auto()


NEED_DATA = NeedData.NEED_DATA


class RawCommand(NamedTuple):  # tuples here: made for each command, in a third of the time of a frozen dataclass
    """A framed command: `tokens` stands just after the name (`UID FETCH` counts as one name), or the last streamed literal."""

    tag: bytes
    name: str
    tokens: Tokens


class RawLiteral(NamedTuple):
    """A literal was announced. streamed: octets of a message; `head.tokens` ends before its marker."""

    size: int
    synchronising: bool
    streamed: bool
    binary: bool
    head: RawCommand


class LiteralChunk(NamedTuple):
    """Octets of an accepted APPEND message, in order."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """The line asked by `expect_line`, without CRLF."""

    data: bytes

    def __repr__(self) -> str:
        """Never show what may hold a password."""
        return f"Line({len(self.data)} octets)"


RawEvent = RawCommand | RawLiteral | LiteralChunk | Line | ClientFault | SessionEnd | NeedData

_MAX_DIGITS = 19  # RFC 9051 §9 number64

_TAG = re.compile(rb"([^\x00-\x20\x7f-\xff(){%%*\"\\+]{1,%d}) " % TAG)  # RFC 9051 §9 tag
_NAME = re.compile(rb"(?:([Uu][Ii][Dd]) )?([A-Za-z]{1,20})(?=[ \r\n])")
_MARKER = re.compile(rb"(~?)\{([0-9]+)(\+?)\}\r?\n\Z")


class _Mode(Enum):
    COMMAND = auto()
    WAIT = auto()
    HELD = auto()
    STREAM = auto()
    LINE = auto()
    SKIP = auto()
    ENDED = auto()


_LINES = (_Mode.COMMAND, _Mode.LINE)  # where octets are read as lines


def _marker_of(line: bytes) -> re.Match[bytes] | None:
    """Find the announcement of a literal at the end of a line (RFC 9051 §4.3, RFC 7888, RFC 3516 literal8)."""
    at = line.rfind(b"{")
    if at < 0:
        return None
    return _MARKER.match(line, at - 1 if line[at - 1:at] == b"~" else at)


class Receiver:
    """The framing machine of one connection."""

    def __init__(self, limits: Limits) -> None:
        """Start before login."""
        self._limits = limits
        self.trusted = False  # a user is logged in: larger limits, streamed literals
        self._buffer = bytearray()
        self._searched = 0  # octets of the buffer known to hold no LF
        self._mode = _Mode.COMMAND
        self._steps: dict[_Mode, Callable[[], RawEvent | None]] = {
            _Mode.COMMAND: self._command, _Mode.WAIT: self._wait, _Mode.HELD: self._held, _Mode.STREAM: self._stream,
            _Mode.LINE: self._line, _Mode.SKIP: self._skip,
            _Mode.ENDED: lambda: NEED_DATA,
        }
        self._forget()
        self._to_skip = 0
        self._skipped = 0
        self._tail = b""
        self._line_tag: bytes | None = None
        self._too_long = False  # why the last line was refused: its end is still to come
        self._hungry = True  # the last event was NEED_DATA

    def _forget(self) -> None:
        """Start a new command."""
        self._lines: list[bytes] = []
        self._literals: list[bytes] = []
        self._line_octets = 0
        self._held_octets = 0
        self._remaining = 0
        self._head: RawCommand | None = None
        self._pending: RawLiteral | None = None
        self._text_at = 0  # where the text that is not streamed starts in the lines
        self._first = True  # no literal of this command was streamed yet
        self._mode = _Mode.COMMAND

    # ---------------------------------------------------------------- what the session calls

    @property
    def buffered(self) -> int:
        """Octets received and not used yet."""
        return len(self._buffer)

    @property
    def read_size(self) -> int:
        """At most this many octets should be read from the socket at once."""
        return self._limits.read if self.trusted else self._limits.read_before

    @property
    def hungry(self) -> bool:
        """True when the next event is NEED_DATA: the last one was, or nothing is left where a line is read."""
        return self._hungry or (not self._buffer and self._mode in _LINES)

    @property
    def full(self) -> bool:
        """True while enough is read ahead: stop reading until events are taken. Never after NEED_DATA."""
        return not self._hungry and len(self._buffer) >= self.read_size

    def receive(self, data: bytes) -> None:
        """Take octets from the client."""
        if self._mode is not _Mode.ENDED:
            self._buffer += data
            self._hungry = False

    def next_event(self) -> RawEvent:
        """Give the next event. Never raises."""
        while True:
            event = self._steps[self._mode]()
            if event is not None:
                self._hungry = event is NEED_DATA
                return event

    def expect_line(self, tag: bytes) -> None:
        """Read the next line as it is, for the command with this tag; then commands again."""
        self._line_tag = tag
        self._mode = _Mode.LINE

    def accept_literal(self) -> None:
        """Take the literal of the last RawLiteral."""
        if self._pending is None:
            return
        self._remaining = self._pending.size
        self._mode = _Mode.STREAM if self._pending.streamed else _Mode.HELD
        self._pending = None

    def refuse_literal(self) -> None:
        """Give up the command of the last RawLiteral: what the client sends of it anyway is thrown away."""
        pending = self._pending
        if pending is not None:
            self._abandon(0 if pending.synchronising else pending.size, pending.synchronising)

    def drop_buffer(self) -> bool:
        """Forget every octet received and not used (STARTTLS); tell if there were any."""
        waiting = bool(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return waiting

    def end(self) -> None:
        """Read nothing more."""
        self._mode = _Mode.ENDED
        self._buffer.clear()

    # ---------------------------------------------------------------- lines

    def _take_line(self, most: int) -> bytes | ClientFault | None:
        """Give a line with its CRLF, None when not whole yet, a fault when longer than `most` or ended by bare LF."""
        at = self._buffer.find(b"\n", self._searched)
        length = at + 1 if at >= 0 else len(self._buffer)
        self._too_long = length > most
        if self._too_long:
            return ClientFault(self._tag_here(), f"command longer than {self._line_limit} octets")
        if at < 0:
            self._searched = length
            return None
        line = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._searched = 0
        if not line.endswith(b"\r\n"):
            return self._fault_after(line, ClientFault(self._tag_of(line), "a line must end with CRLF"))
        return line

    @property
    def _line_limit(self) -> int:
        return self._limits.line if self.trusted else self._limits.line_before

    def _tag_here(self) -> bytes | None:
        """Tag of the command being read, from its head or from the start of the buffer."""
        return self._head.tag if self._head else self._tag_of(bytes(self._buffer[:min(TAG + 1, self._line_limit)]))

    def _tag_of(self, line: bytes) -> bytes | None:
        """Tag at the start of a line, or of the command that it goes on."""
        if self._head:
            return self._head.tag
        found = _TAG.match(line)
        return found[1] if found else None

    # ---------------------------------------------------------------- modes

    def _command(self) -> RawEvent | None:
        """Read one line of a command."""
        line = self._take_line(self._line_limit - self._line_octets)
        if line is None:
            return NEED_DATA
        if isinstance(line, ClientFault):
            return self._broken_line(line)
        marker = _marker_of(line)
        if self._head is None:
            head = self._read_head(line)
            if isinstance(head, ClientFault):
                self._line_octets += len(line)
                return self._fault_after(line, head)
            if marker is None:
                return head  # most commands are one line: nothing to remember
            self._head = head
            self._text_at = head.tokens.at
        self._line_octets += len(line)
        self._lines.append(line)
        return self._announce(self._head, line, marker) if marker else self._complete(self._head)

    def _read_head(self, line: bytes) -> RawCommand | ClientFault:
        """Read tag and name at the start of a command; its tokens hold the line."""
        tag = _TAG.match(line)
        if tag is None:
            return ClientFault(None, "expected a tag, a space and a command", at=0)
        name = _NAME.match(line, tag.end())
        if name is None:
            return ClientFault(tag[1], "expected a command", at=tag.end())
        word = name[2].decode("ascii").upper()
        return RawCommand(tag[1], f"UID {word}" if name[1] else word, Tokens(tag[1], line[:-2], at=name.end()))

    def _complete(self, head: RawCommand) -> RawEvent:
        """Give the command whose last line was read."""
        text = b"".join(self._lines)[:-2] if len(self._lines) > 1 else self._lines[0][:-2]
        tokens = Tokens(head.tag, text, at=self._text_at, literals=tuple(self._literals))
        self._forget()
        return RawCommand(head.tag, head.name, tokens)

    def _announce(self, head: RawCommand, line: bytes, marker: re.Match[bytes]) -> RawEvent | None:
        """A literal stands at the end of the line: stream it, hold it or refuse it."""
        synchronising = not marker[3]
        if len(marker[2]) > _MAX_DIGITS:
            self._abandon(-1, synchronising)
            return ClientFault(head.tag, "literal size is not a number of 63 bits")
        size = int(marker[2])
        if not synchronising and self._limits.unasked is not None and size > self._limits.unasked:
            self._abandon(size, synchronising)  # RFC 7888 §5: LITERAL-
            return ClientFault(head.tag, f"a literal above {self._limits.unasked} octets must wait for the continuation",
                               code="TOOBIG" if head.name in STREAMED else "")
        text = b"".join(self._lines)[:-len(marker[0])]
        streamed = self.trusted and head.name in STREAMED and self._is_message(head, text)
        most = self._limits.held if self.trusted else self._limits.held_before
        if not streamed and self._held_octets + size > most:
            self._abandon(size, synchronising)
            return ClientFault(head.tag, f"literal of {size} octets is too large here")
        tokens = Tokens(head.tag, text, at=self._text_at, literals=tuple(self._literals))
        pending = RawLiteral(size, synchronising, streamed, bool(marker[1]), RawCommand(head.tag, head.name, tokens))
        if synchronising or streamed:
            self._pending = pending
            self._mode = _Mode.WAIT
            return pending
        self._remaining = size
        self._mode = _Mode.HELD
        return None

    def _is_message(self, head: RawCommand, text: bytes) -> bool:
        """Tell if this literal is octets of a message."""
        first = self._first and not self._literals
        return is_message(head.name, text[self._text_at:] if first else text, first=first)

    def _wait(self) -> RawEvent:
        """Nobody answered yet: say again."""
        return self._pending if self._pending is not None else NEED_DATA

    def _held(self) -> RawEvent | None:
        """Read a small literal whole."""
        if len(self._buffer) < self._remaining:
            return NEED_DATA
        self._literals.append(bytes(self._buffer[:self._remaining]))
        del self._buffer[:self._remaining]
        self._searched = 0
        self._held_octets += self._remaining
        self._mode = _Mode.COMMAND
        return None

    def _stream(self) -> RawEvent | None:
        """Hand on octets of a message."""
        if self._remaining == 0:
            self._lines, self._literals, self._text_at, self._first = [], [], 0, False
            self._mode = _Mode.COMMAND
            return None
        if not self._buffer:
            return NEED_DATA
        data = bytes(self._buffer if len(self._buffer) <= self._remaining else self._buffer[:self._remaining])
        del self._buffer[:len(data)]
        self._searched = 0
        self._remaining -= len(data)
        return LiteralChunk(data)

    def _line(self) -> RawEvent:
        """Read the line asked by `expect_line`."""
        line = self._take_line(self._line_limit)
        if line is None:
            return NEED_DATA
        tag, self._line_tag = self._line_tag, None
        if isinstance(line, ClientFault):
            return self._broken_line(ClientFault(tag, line.text))
        self._forget()
        return Line(line[:-2])

    # ---------------------------------------------------------------- after a fault

    def _broken_line(self, fault: ClientFault) -> ClientFault:
        """Forget the command of a line that is too long: its rest is to come. (A bare LF is already dealt with.)"""
        if self._too_long:
            self._forget()
            self._to_skip, self._skipped, self._tail = 0, 0, b""
            self._mode = _Mode.SKIP
        return fault

    def _fault_after(self, line: bytes, fault: ClientFault) -> ClientFault:
        """Forget the command of a whole line, and the literal that a client that does not wait sends after it."""
        marker = _marker_of(line)
        if marker and marker[3]:
            size = int(marker[2]) if len(marker[2]) <= _MAX_DIGITS else -1
            self._abandon(size, False)
        else:
            self._forget()
        return fault

    def _abandon(self, size: int, synchronising: bool) -> None:
        """Forget a command at a literal; -1: a size that cannot be read."""
        self._forget()
        if synchronising:
            return
        self._skipped, self._tail = 0, b""
        self._to_skip = size if size >= 0 else self._drop_limit + 1
        self._mode = _Mode.SKIP

    @property
    def _drop_limit(self) -> int:
        return self._limits.drop if self.trusted else self._limits.drop_before

    def _skip(self) -> RawEvent | None:
        """Throw away a literal, then the rest of its line, then the literal at its end…"""
        if self._to_skip + self._skipped > self._drop_limit:
            return self._give_up()
        if self._to_skip:
            dropped = min(self._to_skip, len(self._buffer))
            self._drop(dropped)
            self._to_skip -= dropped
            return NEED_DATA if self._to_skip else None
        at = self._buffer.find(b"\n")
        dropped = at + 1 if at >= 0 else len(self._buffer)
        self._tail = (self._tail + bytes(self._buffer[max(0, dropped - 64):dropped]))[-64:]
        self._drop(dropped)
        if self._skipped > self._drop_limit:
            return self._give_up()
        if at < 0:
            return NEED_DATA
        marker = _marker_of(self._tail)
        self._tail = b""
        if marker and marker[3]:
            self._to_skip = int(marker[2]) if len(marker[2]) <= _MAX_DIGITS else self._drop_limit + 1
        else:
            self._forget()
        return None

    def _drop(self, octets: int) -> None:
        """Throw away octets of the buffer and count them."""
        del self._buffer[:octets]
        self._searched = 0
        self._skipped += octets

    def _give_up(self) -> SessionEnd:
        """The refused command is too large to read past."""
        self.end()
        return SessionEnd("too much data after a refused command")

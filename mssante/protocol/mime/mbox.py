"""Mailboxes in one file (mbox, RFC 4155): where each message stands, what it says once its quoting is undone.

- `FromFinder` cuts a file into spans, fed in pieces of any size; it holds a few kilobytes, whatever the file.
- A separator is a `From ` line after an empty line (or at the start) that holds a date; one without date (as Thunderbird
  writes) counts when a header field follows; a dated one without empty line before it counts too and is told as `loose`.
- `MboxMessage` gives a message's octets: CRLF line ends, `>From ` lines restored (mboxrd or mboxo), and the fields that
  belong to the file and not to the letter (Status, X-Status, X-Keywords…) taken out and read as flags.
- Never raises on any octets. Called by services/importing_files.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from mssante.model.message import Flags
from mssante.protocol.mime.headers import MAX_HEADER_BYTES, find_header_end
from mssante.protocol.mime.lineends import LineEnds

MAX_FROM_LINE = 1_000
_PEEK = 200
_MARK = b"\nFrom "
_MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
_DATE = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +([0-9]{1,2}) +"
    rb"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?(?: +(?:[A-Z]{1,5}|([+-][0-9]{4}))){0,2} +([0-9]{4})(?: +([+-][0-9]{4}))?")
_UNDATED = re.compile(rb"From (?:-|[^\s]{0,320})[ \t]*\Z")
_FIELD = re.compile(rb"(?:[!-9;-~]{1,76}[ \t]*:|>From )")
_WORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,64}\Z")
_OWN_FIELDS = frozenset((b"status", b"x-status", b"x-keywords", b"x-uid", b"x-imap", b"x-imapbase", b"content-length",
                         b"x-mozilla-status", b"x-mozilla-status2", b"x-mozilla-keys"))
_STATUS = {b"R": Flags.SEEN}
_X_STATUS = {b"A": Flags.ANSWERED, b"F": Flags.FLAGGED, b"D": Flags.DELETED, b"T": Flags.DRAFT}
_MOZILLA = ((0x1, Flags.SEEN), (0x2, Flags.ANSWERED), (0x4, Flags.FLAGGED), (0x8, Flags.DELETED))
_MOZILLA_FORWARDED = 0x1000


class Quoting(StrEnum):
    """How lines that begin with `From ` were protected: `>` before any number of `>` (rd), or once only (o)."""

    MBOXRD = "mboxrd"
    MBOXO = "mboxo"


_QUOTED = {Quoting.MBOXRD: re.compile(rb"(?m)^>(>*From )"), Quoting.MBOXO: re.compile(rb"(?m)^>(From )")}


@dataclass(frozen=True, slots=True)
class Span:
    """One message in the file. offset: of its `From ` line; start, end: of its raw octets; loose: no empty line before."""

    offset: int
    start: int
    end: int
    from_line: bytes
    loose: bool = False


class FromFinder:
    """Cuts one file. `garbage`: octets before the first separator, which belong to no message."""

    __slots__ = ("_base", "_held", "_next", "_open", "garbage")

    def __init__(self) -> None:
        self._held = b"\n\n"  # as if an empty line stood before the file
        self._base = -2
        self._next = 0
        self._open: Span | None = None
        self.garbage = 0

    def feed(self, data: bytes) -> list[Span]:
        """Take the next octets; give the messages whose end is known now."""
        self._held += data
        found = self._scan(final=False)
        cut = max(0, self._next - 3)  # what tells whether the line before is empty
        self._held = self._held[cut:]
        self._base += cut
        self._next -= cut
        return found

    def close(self) -> list[Span]:
        """End of the file: give the last messages."""
        found = self._scan(final=True)
        end = self._base + len(self._held)
        if self._open is None:
            self.garbage = max(end, 0)
        else:
            found.append(self._ended(end - self._blank(len(self._held)) if end > self._open.start else end))
            self._open = None
        return found

    def _scan(self, *, final: bool) -> list[Span]:
        held = self._held
        found: list[Span] = []
        at = held.find(_MARK, self._next)
        while at >= 0:
            start = at + 1
            stop = held.find(b"\n", start, start + MAX_FROM_LINE)
            peek = held[stop + 1:stop + 1 + _PEEK] if stop >= 0 else b""
            short = stop < 0 and len(held) < start + MAX_FROM_LINE
            if not final and (short or (stop >= 0 and len(peek) < _PEEK)):
                self._next = at  # not enough read to judge
                return found
            if stop < 0 and short:
                stop = len(held)
            if stop >= 0:
                found += self._separator(at, stop, peek)
            at = held.find(_MARK, max(stop, at + 1))
        self._next = max(self._next, len(held) - len(_MARK) + 1)
        return found

    def _separator(self, at: int, stop: int, peek: bytes) -> list[Span]:
        """Judge the line that begins after `at`; give the message that it ends, if it does."""
        line = self._held[at + 1:stop].removesuffix(b"\r")
        blank = self._blank(at + 1)
        dated = _DATE.search(line) is not None
        followed = _FIELD.match(peek) is not None
        if not (dated and (blank or followed)) and not (blank and followed and _UNDATED.match(line)):
            return []
        offset = self._base + at + 1
        ended = [] if self._open is None else [self._ended(offset - (blank if offset > self._open.start else 0))]
        if self._open is None:
            self.garbage = offset
        self._open = Span(offset, self._base + min(stop + 1, len(self._held)), 0, line, loose=not blank)
        return ended

    def _blank(self, at: int) -> int:
        """Give how many octets the empty line just before `at` takes, 0 when there is none."""
        before = self._held[max(0, at - 3):at]
        if before.endswith(b"\n\r\n"):
            return 2
        return 1 if before.endswith(b"\n\n") else 0

    def _ended(self, end: int) -> Span:
        one = self._open
        if one is None:
            raise ValueError("no message is open")
        return Span(one.offset, one.start, max(end, one.start), one.from_line, one.loose)


def from_date(line: bytes) -> datetime | None:
    """Give the instant of a `From ` line (UTC when it names no offset, RFC 4155), or None."""
    found = _DATE.search(line)
    if found is None:
        return None
    month, day, hour, minute, second, zone, year, late_zone = found.groups()
    offset = zone or late_zone or b"+0000"
    minutes = (int(offset[1:3]) * 60 + int(offset[3:5])) * (-1 if offset[:1] == b"-" else 1)
    try:
        return datetime(int(year), _MONTHS.index(month) // 3 + 1, int(day), int(hour), int(minute),
                        min(int(second or 0), 59), tzinfo=UTC) - timedelta(minutes=minutes)
    except (ValueError, OverflowError):
        return None


class MboxMessage:
    """One message: raw pieces in, letter octets out; `flags` and `keywords` are whole after the header.

    own: True when it is no letter but a note of a mail program about the file itself.
    """

    __slots__ = ("_ends", "_header", "_in_header", "_quoted", "_started", "_tail", "flags", "keywords", "own")

    def __init__(self, quoting: Quoting = Quoting.MBOXRD) -> None:
        self._quoted = _QUOTED[quoting]
        self._ends = LineEnds()
        self._header = b""
        self._in_header = True
        self._tail = b""
        self._started = True  # the tail begins a line
        self.flags = 0
        self.keywords: tuple[str, ...] = ()
        self.own = False

    def feed(self, data: bytes) -> bytes:
        """Take raw octets in order; give octets of the letter (may be none yet)."""
        return self._take(self._ends.feed(data))

    def close(self) -> bytes:
        """End of the message: give what is left."""
        out = self._take(self._ends.close())
        if self._in_header:
            out += self._end_header(len(self._header))
        return out + self._body(b"", final=True)

    def _take(self, data: bytes) -> bytes:
        if not self._in_header:
            return self._body(data)
        self._header += data
        end = find_header_end(self._header)
        if end == len(self._header) and not self._header.endswith(b"\r\n\r\n") and end <= MAX_HEADER_BYTES:
            return b""
        return self._end_header(end)

    def _end_header(self, end: int) -> bytes:
        """Give the header without the file's own fields, and what of the body was read with it."""
        block, rest = self._header[:end], self._header[end:]
        self._in_header, self._header = False, b""
        if end > MAX_HEADER_BYTES:
            return block + self._body(rest)
        kept: list[bytes] = []
        mine = False
        for line in block.splitlines(keepends=True) if b"\r" in block else [block]:
            if line[:1] not in (b" ", b"\t"):
                name, colon, value = line.partition(b":")
                mine = bool(colon) and name.strip().lower() in _OWN_FIELDS
                if mine:
                    self._read(name.strip().lower(), value.strip())
            if not mine:
                kept.append(line)
        return b"".join(kept) + self._body(rest)

    def _read(self, name: bytes, value: bytes) -> None:
        if name in (b"status", b"x-status"):
            table = _STATUS if name == b"status" else _X_STATUS
            for letter, flag in table.items():
                self.flags |= flag if letter in value else 0
        elif name in (b"x-keywords", b"x-mozilla-keys"):
            self._add_words(value)
        elif name == b"x-mozilla-status" and re.fullmatch(rb"[0-9A-Fa-f]{1,8}", value):
            bits = int(value, 16)
            for bit, flag in _MOZILLA:
                self.flags |= flag if bits & bit else 0
            if bits & _MOZILLA_FORWARDED:
                self._add_words(b"$Forwarded")
        elif name == b"x-imap":
            self.own = True

    def _add_words(self, value: bytes) -> None:
        found = [word for word in value.decode("ascii", "replace").split() if is_keyword(word)]
        self.keywords = tuple(dict.fromkeys((*self.keywords, *found)))

    def _body(self, data: bytes, *, final: bool = False) -> bytes:
        """Undo the quoting of whole lines; a line without end is passed on once it is long."""
        data = self._tail + data
        cut = len(data) if final or len(data) > MAX_HEADER_BYTES else data.rfind(b"\n") + 1
        piece, self._tail = data[:cut], data[cut:]
        if not piece:
            return b""
        started, self._started = self._started, piece.endswith(b"\n")
        if started:
            return self._quoted.sub(rb"\1", piece)
        first = piece.find(b"\n") + 1 or len(piece)
        return piece[:first] + self._quoted.sub(rb"\1", piece[first:])


def is_keyword(word: str) -> bool:
    """Tell whether a word may be kept as a keyword (RFC 9051 §9 flag-keyword: an atom)."""
    return _WORD.match(word) is not None

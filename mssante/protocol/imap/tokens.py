"""Reads one framed command left to right: atoms, strings, numbers, sets, folder names, flags, dates (RFC 9051 §9).

- One compiled pattern per lexical shape, matched in place: no copy of the line, no back-tracking, linear time.
- `text` is the whole command with literal markers left in (`{5}` CRLF); octets of literals stand beside, in order.
- Every refusal is a `ClientFault` with the tag and the octet where reading stopped; the input is never echoed.
- 8-bit octets in quoted strings are read only when IMAP4rev2 or UTF8=ACCEPT is enabled (RFC 9051 §9 QUOTED-CHAR,
  RFC 9755 §3), and only as UTF-8; NUL never.

Called by `protocol/imap/commands/*`, built by `protocol/imap/receiver.py`.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone
from re import Pattern
from typing import TYPE_CHECKING, NoReturn

from mssante.model.message import Flags
from mssante.protocol.imap import mutf7
from mssante.protocol.imap.faults import ClientFault, CommandRefused
from mssante.protocol.imap.numset import NumSet

if TYPE_CHECKING:
    from mssante.protocol.imap.notifyvalues import Asked

MAX_NAME = 512  # characters of a folder name
MAX_KEYWORD = 100
MAX_KEYWORDS = 50

_ATOM_CHAR = rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]"
ATOM = re.compile(_ATOM_CHAR + rb"+")
ASTRING_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
LIST_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){\"\\]+")
QUOTED = re.compile(rb"\"((?:[^\x00-\x1f\x7f-\xff\"\\]|\\[\"\\])*)\"")
# RFC 9051 §9: QUOTED-CHAR holds UTF-8 too; TAB is a TEXT-CHAR that real clients send
QUOTED_8BIT = re.compile(rb"\"((?:[^\x00-\x08\x0a-\x1f\x7f\"\\]|\\[\"\\])*)\"")
LITERAL = re.compile(rb"\{[0-9]{1,19}\+?\}\r\n")
NUMBER = re.compile(rb"[0-9]{1,19}(?![0-9])")
SEQUENCE_SET = re.compile(rb"[0-9:*,$]+")
FLAG = re.compile(rb"\\?" + _ATOM_CHAR + rb"+")
WORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.\-_=+]*")
DATE = re.compile(rb"\"?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\"?")
DATE_TIME = re.compile(rb"\"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) "
                       rb"([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})\"")

MONTHS = {name: number for number, name in enumerate(
    (b"JAN", b"FEB", b"MAR", b"APR", b"MAY", b"JUN", b"JUL", b"AUG", b"SEP", b"OCT", b"NOV", b"DEC"), 1)}

SYSTEM_FLAGS = {
    b"\\SEEN": Flags.SEEN.value,
    b"\\ANSWERED": Flags.ANSWERED.value,
    b"\\FLAGGED": Flags.FLAGGED.value,
    b"\\DELETED": Flags.DELETED.value,
    b"\\DRAFT": Flags.DRAFT.value,
}


class Tokens:
    """A place in one command. tag: for faults; rev2: IMAP4rev2 is enabled; accept: UTF8=ACCEPT is (RFC 9755)."""

    __slots__ = ("_end", "_literal", "accept", "asked", "at", "literals", "rev2", "tag", "text")

    def __init__(self, tag: bytes, text: bytes, *, at: int = 0, literals: tuple[bytes, ...] = ()) -> None:
        """Start reading `text` (no CRLF at its end) at an octet; `literals` are those whose markers come after."""
        self.tag = tag
        self.text = text
        self.at = at
        self.literals = literals
        self.rev2 = False
        self.accept = False
        self.asked: Asked | None = None  # by RETURN (UPDATE (…)): options and keys are read by different functions
        self._literal = 0
        self._end = len(text)

    @property
    def utf8(self) -> bool:
        """Quoted strings and folder names are UTF-8 (RFC 9051 §5.1, RFC 9755 §3)."""
        return self.rev2 or self.accept

    # ---------------------------------------------------------------- basics

    def fault(self, text: str) -> NoReturn:
        """Raise the BAD of this command at this octet."""
        raise ClientFault(self.tag, text, at=self.at)

    @property
    def ended(self) -> bool:
        """True when nothing is left."""
        return self.at >= self._end

    def end(self) -> None:
        """Refuse anything more."""
        if self.at < self._end:
            self.fault("unexpected text after the command")

    def peek(self) -> int:
        """Give the next octet, -1 at the end."""
        return self.text[self.at] if self.at < self._end else -1

    def skip(self, octet: bytes) -> bool:
        """Go past one given octet when it is next; tell if it was."""
        if self.text.startswith(octet, self.at):
            self.at += len(octet)
            return True
        return False

    def expect(self, octets: bytes, name: str) -> None:
        """Go past given octets or refuse."""
        if not self.text.startswith(octets, self.at):
            self.fault(f"expected {name}")
        self.at += len(octets)

    def space(self) -> None:
        """Go past exactly one space (RFC 9051 §9: SP, never more)."""
        if not self.text.startswith(b" ", self.at):
            self.fault("expected a space")
        self.at += 1

    def take(self, pattern: Pattern[bytes], name: str) -> bytes:
        """Give what the pattern matches here, or refuse."""
        found = pattern.match(self.text, self.at)
        if found is None:
            self.fault(f"expected {name}")
        self.at = found.end()
        return found[0]

    # ---------------------------------------------------------------- words and numbers

    def atom(self) -> bytes:
        """Read an atom."""
        return self.take(ATOM, "an atom")

    def word(self) -> str:
        """Read a keyword of the protocol, upper-case."""
        return self.take(WORD, "a word").decode("ascii").upper()

    def number(self, most: int = 4_294_967_295) -> int:
        """Read a number from 0 to `most` (RFC 9051 §9 number; number64 and mod-sequences use their own limit)."""
        value = int(self.take(NUMBER, "a number"))
        if value > most:
            self.fault(f"number above {most}")
        return value

    def sequence_set(self) -> NumSet:
        """Read a sequence set or `$`."""
        start = self.at
        try:
            return NumSet.parse(self.take(SEQUENCE_SET, "a sequence set"))
        except ValueError as error:
            self.at = start
            raise ClientFault(self.tag, str(error), at=start) from None

    # ---------------------------------------------------------------- strings

    def at_string(self) -> bool:
        """Tell if a quoted string or a literal is next."""
        return self.peek() in (0x22, 0x7B)

    def string(self) -> bytes:
        """Read a quoted string or a literal."""
        if self.peek() == 0x7B:
            return self._take_literal()
        found = (QUOTED_8BIT if self.utf8 else QUOTED).match(self.text, self.at)
        if found is None:
            self.fault("expected a string")
        raw = found[1]
        if self.utf8 and not raw.isascii():
            self._utf8(raw)  # RFC 9755 §3: octets that are not UTF-8 are BAD
        self.at = found.end()
        return raw.replace(b"\\\\", b"\x00").replace(b"\\", b"").replace(b"\x00", b"\\") if b"\\" in raw else raw

    def nstring8(self) -> bytes | None:
        """Read NIL, a string or a literal8, which may hold NUL (RFC 3516 §4.2)."""
        if self.at_string():
            return self.string()
        if self.skip(b"~"):
            return self._take_literal(binary=True)
        if self.atom().upper() != b"NIL":
            self.fault("expected NIL or a string")
        return None

    def _take_literal(self, *, binary: bool = False) -> bytes:
        """Give the octets of the literal whose marker is here."""
        found = LITERAL.match(self.text, self.at)
        if found is None or self._literal >= len(self.literals):
            self.fault("malformed literal")
        data = self.literals[self._literal]
        if b"\x00" in data and not binary:
            self.fault("NUL in a literal")  # RFC 9051 §9: CHAR8
        self._literal += 1
        self.at = found.end()
        return data

    def astring(self) -> bytes:
        """Read an atom (`]` allowed) or a string."""
        if self.peek() in (0x22, 0x7B):
            return self.string()
        return self.take(ASTRING_ATOM, "an atom or a string")

    def text_string(self) -> str:
        """Read an astring as UTF-8 text (search texts, credentials)."""
        return self._utf8(self.astring())

    def _utf8(self, raw: bytes) -> str:
        """Decode, or refuse."""
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fault("text is not UTF-8")

    # ---------------------------------------------------------------- folder names

    def folder(self) -> str:
        """Read a folder name: decoded, NFC, INBOX upper-case as first level (RFC 9051 §5.1)."""
        name = self._folder_text(self.astring())
        if not name:
            self.fault("empty folder name")
        return name

    def folder_or_server(self) -> str:
        """Read a folder name, or the empty string that stands for the server (RFC 5464 §4.1)."""
        raw = self.astring()
        return self._folder_text(raw) if raw else ""

    def list_pattern(self) -> str:
        """Read a list-mailbox: `*` and `%` allowed, may be empty."""
        raw = self.string() if self.at_string() else self.take(LIST_ATOM, "a folder pattern")
        return self._folder_text(raw, pattern=True)

    def reference(self) -> str:
        """Read the reference name of LIST, may be empty."""
        return self._folder_text(self.astring(), pattern=True)

    def _folder_text(self, raw: bytes, *, pattern: bool = False) -> str:
        """Decode and check a folder name. Patterns keep their case: `inb%` must match INBOX (see `match`)."""
        if raw.isalnum() and len(raw) <= MAX_NAME:  # letters and digits of ASCII: nothing to decode or to refuse
            plain = raw.decode("ascii")
            return "INBOX" if not pattern and plain.upper() == "INBOX" else plain
        try:
            name = raw.decode("utf-8") if self.utf8 else mutf7.decode(raw)
        except ValueError:
            if self.utf8:
                self.fault("folder name is not UTF-8")
            if not pattern:  # well-formed as a string, but no folder can have this name
                raise CommandRefused("folder name is not modified UTF-7", code="CANNOT", rule="RFC 3501 §5.1.3") from None
            name = raw.decode("latin-1")  # matches what it looks like, or nothing
        if not name.isascii():
            name = unicodedata.normalize("NFC", name)  # RFC 9051 §5.1: Net-Unicode
        if len(name) > MAX_NAME:
            self.fault(f"folder name longer than {MAX_NAME} characters")
        if not name.isprintable() and any(unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs") for letter in name):
            self.fault("control character in a folder name")  # RFC 9051 §5.1
        if not pattern and name[:5].upper() == "INBOX" and name[5:6] in ("", "/"):
            return "INBOX" + name[5:]
        return name

    # ---------------------------------------------------------------- flags

    def flag_list(self) -> tuple[int, tuple[str, ...]]:
        """Read `(\\Seen word …)`: give the mask of system flags and the keywords, sorted, without doubles."""
        self.expect(b"(", "a list of flags")
        mask = 0
        words: dict[str, str] = {}
        while not self.skip(b")"):
            if mask or words:
                self.space()
            mask |= self._flag(words)
        return mask, self._keywords(words)

    def flags(self) -> tuple[int, tuple[str, ...]]:
        """Read a list of flags, or flags without parentheses to the end (RFC 9051 §9 store-att-flags)."""
        if self.peek() == 0x28:
            return self.flag_list()
        words: dict[str, str] = {}
        mask = self._flag(words)
        while not self.ended:
            self.space()
            mask |= self._flag(words)
        return mask, self._keywords(words)

    def _flag(self, words: dict[str, str]) -> int:
        """Read one flag: give its bit, or 0 and add the keyword to `words`."""
        raw = self.take(FLAG, "a flag")
        if raw.startswith(b"\\"):
            bit = SYSTEM_FLAGS.get(raw.upper())
            if bit is None:
                if raw.upper() == b"\\RECENT":
                    self.fault("\\Recent cannot be set")  # RFC 3501 §2.3.2
                self.fault("unknown system flag")  # RFC 9051 §2.3.2: `\` is reserved
            return bit
        if len(raw) > MAX_KEYWORD:
            self.fault(f"keyword longer than {MAX_KEYWORD} octets")
        word = raw.decode("ascii")
        words.setdefault(word.lower(), word)
        if len(words) > MAX_KEYWORDS:
            self.fault(f"more than {MAX_KEYWORDS} keywords")
        return 0

    def _keywords(self, words: dict[str, str]) -> tuple[str, ...]:
        """Sort keywords, one spelling each."""
        return tuple(sorted(words.values())) if words else ()

    # ---------------------------------------------------------------- dates

    def date(self) -> date:
        """Read a date: `1-Feb-2026`, quoted or not (RFC 9051 §9 date)."""
        start = self.at
        raw = self.take(DATE, "a date")
        if raw.startswith(b'"') != raw.endswith(b'"'):
            self.at = start
            self.fault("expected a date")
        day, month, year = raw.strip(b'"').split(b"-")
        try:
            return date(int(year), MONTHS[month.upper()], int(day))
        except (ValueError, KeyError):
            self.at = start
            self.fault("no such date")

    def date_time(self) -> datetime:
        """Read a date-time with zone: `"17-Jul-1996 02:44:25 -0700"` (RFC 9051 §9), given in its own zone."""
        start = self.at
        found = DATE_TIME.match(self.text, start)
        if found is None:
            self.fault("expected a date and time")
        try:
            day, month, year, hour, minute, second = (
                int(found[1]), MONTHS[found[2].upper()], int(found[3]), int(found[4]), int(found[5]), int(found[6]))
            shift = timedelta(hours=int(found[8]), minutes=int(found[9]))
            zone = timezone(-shift if found[7] == b"-" else shift) if shift else UTC
            value = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)  # RFC 3339: leap second 60
            value.astimezone(UTC)  # out of range near year 1 and 9999
        except (ValueError, KeyError, OverflowError):
            self.fault("no such date and time")
        if second > 60:
            self.fault("no such date and time")
        self.at = found.end()
        return value

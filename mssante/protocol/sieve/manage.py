"""ManageSieve on octets: commands as they arrive, answers as they leave (RFC 5804 §4).

- `CommandReader.feed` takes octets, `take` gives one whole command or None; literals of the client are non-synchronising, as the
  RFC has them. Bounded: a line, a literal, the arguments of a command.
- Too big a literal is swallowed and told (`Oversized`), so that the connection goes on; beyond `swallow` octets, or a line too
  long, `ManageFault` ends it.
Called by `endpoints/managesieve.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mssante.errors import PeerFault

MAX_LINE = 8_192
MAX_ARGUMENTS = 8
_WORD = re.compile(rb'"((?:[^"\\\r\n\x00]++|\\["\\])*+)"|([^\s"{}()]++)')
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+\}\Z")
_ESCAPED = re.compile(rb"\\([\"\\])")
_PLAIN = re.compile(r"[^\"\\\r\n\x00]{0,1024}\Z")


class ManageFault(PeerFault):
    """The client's octets are no ManageSieve; fatal ends the connection."""

    kind = "managesieve"

    def __init__(self, text: str, *, fatal: bool = False) -> None:
        super().__init__(text, rule="RFC 5804 §4")
        self.fatal = fatal


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. quoted: a string, quoted or literal (else an atom or a number); oversized: a literal that was not kept."""

    value: bytes = field(repr=False)
    quoted: bool = True
    oversized: int = 0


@dataclass(frozen=True, slots=True)
class ManageCommand:
    """A whole line with its literals."""

    name: str
    arguments: tuple[Argument, ...]


class CommandReader:
    """Gathers octets into commands."""

    def __init__(self, literal_octets: int, swallow: int = 16 * 1024 * 1024) -> None:
        self._most = literal_octets
        self._swallow = swallow
        self._octets = bytearray()
        self._parts: list[Argument] = []
        self._literal = -1  # octets of the literal that is awaited
        self._skipped = 0

    @property
    def pending(self) -> int:
        """Octets not yet taken."""
        return len(self._octets)

    def feed(self, data: bytes) -> None:
        """Take octets."""
        self._octets += data

    def line(self) -> bytes | None:
        """Give one bare line without its end. Raises ManageFault."""
        end = self._octets.find(b"\n")
        if end < 0:
            if len(self._octets) > MAX_LINE * 2:
                raise ManageFault("line too long", fatal=True)
            return None
        found = bytes(self._octets[:end]).removesuffix(b"\r")
        del self._octets[:end + 1]
        return found

    def take(self) -> ManageCommand | None:
        """Give the next whole command. Raises ManageFault."""
        parts = self._whole()
        if parts is None:
            return None
        if not parts or parts[0].quoted:
            raise ManageFault("a command was expected")
        return ManageCommand(parts[0].value.decode("ascii", "replace").upper(), tuple(parts[1:]))

    def string(self) -> Argument | None:
        """Give one string that stands alone (an answer to a SASL challenge, RFC 5804 §2.1). Raises ManageFault."""
        parts = self._whole()
        if parts is None:
            return None
        if len(parts) != 1 or (not parts[0].quoted and parts[0].value != b"*"):
            raise ManageFault("a string was expected")
        return parts[0]

    def _whole(self) -> list[Argument] | None:
        """Give the words of one line with its literals."""
        while True:
            if self._literal >= 0 and not self._read_literal():
                return None
            line = self.line()
            if line is None:
                return None
            if len(line) > MAX_LINE:
                raise ManageFault("line too long", fatal=True)
            if self._words(line):
                parts, self._parts = self._parts, []
                return parts

    def _read_literal(self) -> bool:
        if self._literal > self._most:
            gone = min(len(self._octets), self._literal - self._skipped)
            del self._octets[:gone]
            self._skipped += gone
            if self._skipped < self._literal:
                return False
            self._parts.append(Argument(b"", True, self._literal))
        elif len(self._octets) < self._literal:
            return False
        else:
            self._parts.append(Argument(bytes(self._octets[:self._literal])))
            del self._octets[:self._literal]
        self._literal = -1
        self._skipped = 0
        return True

    def _words(self, line: bytes) -> bool:
        """Read a line's words; False when a literal follows."""
        literal = _LITERAL.search(line)
        if literal is not None:
            size = int(literal.group(1))
            if size > self._swallow:
                raise ManageFault("literal too large", fatal=True)
            line = line[:literal.start()]
        place = 0
        while place < len(line):
            if line[place:place + 1] in (b" ", b"\t"):
                place += 1
                continue
            found = _WORD.match(line, place)
            if found is None or len(self._parts) > MAX_ARGUMENTS:
                self._parts = []
                raise ManageFault("syntax error", fatal=literal is not None)
            quoted = found.group(1)
            value = found.group(2) if quoted is None else _ESCAPED.sub(rb"\1", quoted)
            self._parts.append(Argument(value, quoted is not None))
            place = found.end()
        if literal is None:
            return True
        self._literal = int(literal.group(1))
        return False


def quoted(text: str) -> bytes:
    """Give a string as the wire has it: quoted, or a literal when it cannot be (RFC 5804 §1.2)."""
    if _PLAIN.match(text):
        return b'"' + text.encode("utf-8") + b'"'
    return literal(text.encode("utf-8", "replace"))


def literal(octets: bytes) -> bytes:
    """Give octets as a literal."""
    return b"{%d}\r\n" % len(octets) + octets


def answer(word: str, text: str = "", code: str = "") -> bytes:
    """Give the last line of an answer: OK, NO or BYE (RFC 5804 §1.3). code: without parentheses."""
    parts = [word.encode("ascii")]
    if code:
        parts.append(b"(" + code.encode("utf-8") + b")")
    if text:
        parts.append(quoted(text))
    return b" ".join(parts) + b"\r\n"

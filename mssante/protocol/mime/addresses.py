"""Address lists of header fields (RFC 5322 §3.4), read in one linear pass.

- Guarantees: never raises, never backtracks, at most `MAX_ADDRESSES` entries and `MAX_LIST_BYTES` octets are read.
- Never decodes: display names stay as they stand on the wire (RFC 2047 words included), as IMAP ENVELOPE wants them.
- Lenient as readers must be: route, comments, quoted pairs, groups, missing domain, unclosed quotes and brackets.
- Called by mime.imapview (ENVELOPE, facts) and mime.compose (who stands in From). Never used for envelope addresses:
  that is `mssante.model.address`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_ADDRESSES = 1_000
MAX_LIST_BYTES = 262_144
_SHORT = 512

_ATEXT = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff\-"
# One address, the shape of nearly all mail: a@b, Name <a@b>, "Name" <a@b>. No two neighbours overlap: linear.
_SIMPLE = re.compile(rb'[ \t]*+(?:(?:"([^"\\\r\n]*+)"[ \t]*+|([' + _ATEXT + rb'. \t]*+))<)?([' + _ATEXT
                     + rb'.]++)@([A-Za-z0-9.\-]++)(>)?[ \t]*+\Z').match
_TOKEN = re.compile(rb'[ \t\r\n]+|"((?:[^"\\]++|\\[\s\S])*+)"?|\[[^\[\]]*+\]?|[^ \t\r\n"()<>\[\],:;@\\]++'
                    rb'|([\s\S])').match
_BLANKS = (b" ", b"\t", b"\r", b"\n")
_COMMENT = re.compile(rb"[()\\]").search
_ESCAPED = re.compile(rb"\\([\s\S])")


class HeaderAddress(NamedTuple):
    """One entry of a list, as octets. domain None marks a group: local is its name, or None at its end.

    A tuple and not a dataclass: a message makes several, and a tuple costs a quarter.
    """

    display: bytes
    route: bytes
    local: bytes | None
    domain: bytes | None


_GROUP_END = HeaderAddress(b"", b"", None, None)


def parse_addresses(value: bytes) -> tuple[HeaderAddress, ...]:
    """Give the entries of an unfolded address list in order; groups as a start entry, members, an end entry.

    Entries past `MAX_ADDRESSES` are dropped. RFC 5322 §3.4 and §4.4.
    """
    found = _SIMPLE(value) if len(value) <= _SHORT else None
    if found is not None:
        quoted, phrase, local, domain, closing = found.groups()
        if (quoted is None and phrase is None) == (closing is None):
            return (HeaderAddress(quoted or (phrase or b"").strip(), b"", local, domain),)
    return tuple(_Reader(value[:MAX_LIST_BYTES]).entries)


class _Reader:
    """The pass over one list; `entries` is its result.

    Words collect until a special character says what they were. `_at` is the place of the last `@` among them: the
    last one separates local part and domain, so that no reader sees a shorter domain than we do.
    """

    __slots__ = ("_angle", "_at", "_comment", "_display", "_in_group", "_route", "_routed", "_spaced", "_words",
                 "entries")

    def __init__(self, value: bytes) -> None:
        self.entries: list[HeaderAddress] = []
        self._in_group = False
        self._reset()
        self._read(value)

    def _reset(self) -> None:
        self._words: list[bytes] = []
        self._at = -1
        self._spaced = False
        self._display = b""
        self._route = b""
        self._routed = False  # inside "<", the first thing was "@"
        self._angle = 0  # 0 before "<", 1 inside, 2 after ">"
        self._comment = b""

    def _read(self, value: bytes) -> None:
        position = 0
        while len(self.entries) < MAX_ADDRESSES:
            found = _TOKEN(value, position)
            if found is None:
                break
            position = found.end()
            quoted, mark = found.groups()
            if mark == b"(":
                stop = _comment_end(value, position)
                self._comment = self._comment or value[position:stop - 1].strip()
                position = stop
            elif mark is not None:
                self._special(mark)
            else:
                self._word(found.group(), quoted)
        self._finish()
        self._end_group()

    def _word(self, text: bytes, quoted: bytes | None) -> None:
        if text[:1] in _BLANKS:
            self._spaced = True
            return
        if self._angle == 2:
            return  # words after ">" belong to nothing
        if quoted is not None:
            text = _ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        if self._words and self._spaced and self._angle == 0 and self._at < 0:
            self._words.append(b" ")
        self._spaced = False
        self._words.append(text)

    def _special(self, mark: bytes) -> None:
        if mark == b",":
            if self._angle == 1 and self._routed:
                self._words.append(mark)  # source route: <@one,@two:a@b>
            else:
                self._finish()
        elif mark == b";":
            self._finish()
            self._end_group()
        elif mark == b":":
            self._colon()
        elif mark == b"@" and self._angle < 2:
            self._routed = self._routed or not self._words
            self._at = len(self._words)
            self._words.append(mark)
        elif mark == b"<" and self._angle == 0:
            self._display = b"".join(self._words)
            self._words, self._at, self._angle, self._routed, self._spaced = [], -1, 1, False, False
        elif mark == b">" and self._angle == 1:
            self._angle = 2

    def _colon(self) -> None:
        if self._angle == 1 and self._routed:
            self._route = b"".join(self._words)
            self._words, self._at, self._routed = [], -1, False
        elif self._angle == 0 and self._at < 0 and not self._in_group:
            self.entries.append(HeaderAddress(b"", b"", b"".join(self._words), None))
            self._in_group = True
            self._reset()

    def _finish(self) -> None:
        """Make an entry of what was collected, if anything was."""
        if self._words or self._angle:
            cut = self._at
            local = b"".join(self._words if cut < 0 else self._words[:cut])
            domain = b"" if cut < 0 else b"".join(self._words[cut + 1:])
            display = self._display or (b"" if self._angle else self._comment)
            self.entries.append(HeaderAddress(display, self._route, local, domain))
        self._reset()

    def _end_group(self) -> None:
        if self._in_group:
            self.entries.append(_GROUP_END)
        self._in_group = False


def _comment_end(value: bytes, position: int) -> int:
    """Give the offset after the `)` that closes the comment opened before `position`, or the end (nesting counted)."""
    depth = 1
    while True:
        found = _COMMENT(value, position)
        if found is None:
            return len(value)
        position = found.end()
        if found.group() == b"\\":
            position += 1
        else:
            depth += 1 if found.group() == b"(" else -1
            if depth == 0:
                return position

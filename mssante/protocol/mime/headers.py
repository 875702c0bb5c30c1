"""Header blocks: find their end, split them once, give named fields unfolded, decode RFC 2047 words.

- Guarantees: linear time; never raises on any octets; at most `MAX_HEADER_FIELDS` fields and `MAX_HEADER_BYTES` octets
  are read, the rest is ignored and `Headers.truncated` says so.
- Never calls stdlib `email`, never tries a codec outside a short list (no zlib, utf-7, idna, unicode_escape).
- Called by mime.scan (every part), mime.imapview, mime.compose, reports.dsn and reports.mdn.
- CRLF is the rule; LF alone is read too, since APPEND and files on disk may hold it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from functools import lru_cache
from mmap import mmap

MAX_HEADER_BYTES = 1 << 20
MAX_HEADER_FIELDS = 2_000
MAX_WORDS_INPUT = 16_384  # octets of a value that the RFC 2047 decoder looks at
_MAX_REFERENCES = 100
MAX_ID_CHARS = 998  # RFC 5322 §2.1.1: no line is longer

# Only plain text codecs: never a transform (zlib, rot13) nor one with side rules (utf-7, idna, unicode_escape).
_CODECS = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8", "unknown-8bit": "utf-8",
    "latin1": "cp1252", "latin-1": "cp1252", "iso-8859-1": "cp1252", "iso_8859-1": "cp1252", "cp1252": "cp1252",
    "iso-8859-15": "iso-8859-15", "latin-9": "iso-8859-15", "macintosh": "mac_roman", "cp850": "cp850",
    "koi8-r": "koi8-r", "koi8-u": "koi8-u", "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030",
    "big5": "big5", "euc-jp": "euc-jp", "iso-2022-jp": "iso-2022-jp", "shift_jis": "shift_jis", "euc-kr": "euc-kr",
    **{f"iso-8859-{n}": f"iso-8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 16)},
    **{f"windows-125{n}": f"cp125{n}" for n in range(9)},
}
_WORD = re.compile(rb"=\?([A-Za-z0-9_\-]{1,40})(?:\*[A-Za-z0-9\-]{0,40})?\?([bBqQ])\?([^?\r\n]{0,8000})\?=")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_IDENTIFIER = re.compile(rb"<[^<>\r\n]{1,996}>")


class Headers:
    """The fields of one header block in order, names lower-cased, values unfolded but not stripped.

    fields: (name, value) pairs; truncated: True when limits stopped the reading. leaf_wire: what mime.imapview made of
    this block as a part's header, kept because short blocks are shared between messages (`parse_part_headers`).
    """

    __slots__ = ("_first", "fields", "leaf_wire", "truncated")

    def __init__(self, fields: list[tuple[bytes, bytes]], first: dict[bytes, bytes], truncated: bool = False) -> None:
        self.fields = fields
        self._first = first  # first value of each name: the one that counts
        self.truncated = truncated
        self.leaf_wire: tuple[bytes, bytes] | None = None

    def get(self, name: bytes) -> bytes | None:
        """Give the first value of `name` (lower case) stripped of outer white space, or None when absent."""
        value = self._first.get(name)
        return None if value is None else value.strip()

    def all(self, name: bytes) -> list[bytes]:
        """Give every value of `name` (lower case), stripped, in order."""
        return [value.strip() for key, value in self.fields if key == name]

    def count(self, name: bytes) -> int:
        """Give how many fields are called `name` (lower case)."""
        return len([1 for key, _ in self.fields if key == name]) if name in self._first else 0

    def repeats(self, name: bytes) -> bool:
        """True when `name` (lower case) occurs more than once."""
        return len(self.fields) != len(self._first) and self.count(name) > 1

    def after(self, prefix: Headers) -> Headers:
        """Give these fields with those of `prefix` before them (lines that we put in front of a message)."""
        return Headers(prefix.fields + self.fields, self._first | prefix._first, self.truncated or prefix.truncated)


_NONE = Headers([], {})
_LINE_END = (b"\r", b"\n")
_SHARED_BYTES = 256


def find_header_end(buffer: bytes | mmap, start: int = 0, end: int | None = None) -> int:
    """Give the offset just after the empty line that ends the header at `start`, or `end` when there is none.

    One or two `find` calls, no copy (RFC 5322 §2.1).
    """
    stop = len(buffer) if end is None else end
    if buffer[start:start + 1] in _LINE_END and start < stop:  # no field at all
        return min(start + (2 if buffer[start:start + 2] == b"\r\n" else 1), stop)
    crlf = buffer.find(b"\n\r\n", start, stop)
    lone = buffer.find(b"\n\n", start, stop if crlf < 0 else crlf + 1)
    if lone >= 0:
        return lone + 2
    return crlf + 3 if crlf >= 0 else stop


def parse_headers(block: bytes) -> Headers:
    """Split a header block (with or without its last empty line) into fields; never raises.

    Lines without a colon are dropped; folding is undone by removing the line end only (RFC 5322 §2.2.3).
    """
    if not block:
        return _NONE
    truncated = len(block) > MAX_HEADER_BYTES
    if truncated:
        block = block[:MAX_HEADER_BYTES]
    if block.count(b"\n") != block.count(b"\r\n"):
        block = block.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if b"\r\n " in block:
        block = block.replace(b"\r\n ", b" ")
    if b"\r\n\t" in block:
        block = block.replace(b"\r\n\t", b"\t")
    lines = block.split(b"\r\n", MAX_HEADER_FIELDS)
    if len(lines) > MAX_HEADER_FIELDS:
        truncated = bool(lines.pop().strip()) or truncated
    fields: list[tuple[bytes, bytes]] = []
    first: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            name = name.rstrip().lower()
            fields.append((name, value))
            if name not in first:
                first[name] = value
    return Headers(fields, first, truncated)


_shared = lru_cache(maxsize=1024)(parse_headers)


def parse_part_headers(block: bytes) -> Headers:
    """Same as `parse_headers`, remembered for short blocks: the header of a text or XDM part is nearly always the
    same.
    """
    return _shared(block) if len(block) <= _SHARED_BYTES else parse_headers(block)


def read_headers(message: bytes) -> Headers:
    """Give the fields of a whole message."""
    return parse_headers(message[:find_header_end(message)])


def decode_bytes(data: bytes, charset: str) -> str:
    """Decode text octets with a charset name from outside; unknown names and bad octets fall back, never raise."""
    codec = _CODECS.get(charset.lower().strip("\"' "), "")
    if codec:
        try:
            return data.decode(codec)
        except (UnicodeError, LookupError):
            pass
    return decode_raw(data)


def decode_raw(data: bytes) -> str:
    """Decode octets of unknown charset: UTF-8 if valid (RFC 6532 §3.2), else Windows-1252."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _word_octets(kind: bytes, text: bytes) -> bytes:
    """Decode the text of one encoded word (RFC 2047 §4); broken base64 gives what can be read."""
    if kind in b"qQ":
        return binascii.a2b_qp(text, header=True)
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"", text)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def _runs(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (charset, octets) runs; charset is empty for plain text. White space between words goes (§6.2)."""
    position = 0
    after_word = False
    for found in _WORD.finditer(value):
        gap = value[position:found.start()]
        if gap and not (after_word and gap.isspace()):
            yield "", gap
        yield found.group(1).decode("ascii"), _word_octets(found.group(2), found.group(3))
        position = found.end()
        after_word = True
    if position < len(value):
        yield "", value[position:]


def decode_words(value: bytes, max_chars: int = 512) -> str:
    """Decode a header value for people: RFC 2047 words, raw UTF-8, controls turned into one space.

    At most `MAX_WORDS_INPUT` octets are read and `max_chars` characters given; never raises. Neighbouring words of one
    charset are joined before decoding, as many senders cut inside a character.
    """
    if len(value) > MAX_WORDS_INPUT:
        value = value[:MAX_WORDS_INPUT]
    if b"=?" not in value:
        text = value.decode("ascii") if value.isascii() else decode_raw(value)
    else:
        merged: list[tuple[str, bytes]] = []
        for charset, octets in _runs(value):
            if merged and charset and merged[-1][0].lower() == charset.lower():
                merged[-1] = (charset, merged[-1][1] + octets)
            else:
                merged.append((charset, octets))
        text = "".join([decode_bytes(octets, charset) for charset, octets in merged])
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return text[:max_chars].strip()


def message_id(value: bytes | None) -> str:
    """Give the first `<…>` of a Message-ID, In-Reply-To or References value with its brackets (RFC 5322 §3.6.4).

    Without brackets the whole stripped value is given; at most `MAX_ID_CHARS` characters; empty when absent.
    """
    if not value:
        return ""
    found = _IDENTIFIER.search(value)
    chosen = found.group() if found else value.strip()[:MAX_ID_CHARS]
    text = chosen.decode("ascii") if chosen.isascii() else decode_raw(chosen)
    return text if text.isprintable() else _CONTROLS.sub("", text)


def reference_ids(references: bytes | None, in_reply_to: bytes | None) -> str:
    """Give the ids that a message answers, oldest first, separated by spaces: those of References, else the first of
    In-Reply-To (RFC 5256 §3). At most 100 (the first and the last ones are kept) of `MAX_ID_CHARS` characters.
    """
    if not references:
        return message_id(in_reply_to)
    found = [value for value in _IDENTIFIER.findall(references) if value.isascii() and len(value) <= MAX_ID_CHARS]
    if not found:
        return message_id(in_reply_to)
    if len(found) > _MAX_REFERENCES:
        found = [found[0], *found[1 - _MAX_REFERENCES:]]
    return _CONTROLS.sub("", b" ".join([b"".join(value.split()) for value in found]).decode("ascii"))
